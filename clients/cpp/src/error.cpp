#include <dashgate/client/v1/error_details.pb.h>
#include <dashgate/error.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <utility>

#include "headers.h"

namespace dashgate {
namespace {

constexpr std::array kCodeNames{
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char* name_of(grpc::StatusCode code) noexcept {
  const auto at = static_cast<std::size_t>(code);
  return at < kCodeNames.size() ? kCodeNames.at(at) : "UNKNOWN";
}

// Whether a message has an id as a word. A short one may be a part of others.
bool has_word(std::string_view message, std::string_view id) {
  constexpr std::string_view kBetween = " \t\r\n()[],;";
  while (!message.empty()) {
    const std::size_t end = std::min(message.find_first_of(kBetween), message.size());
    std::string_view word = message.substr(0, end);
    if (word == id) return true;
    if (!word.empty() && (word.back() == ':' || word.back() == '.')) word.remove_suffix(1);
    if (word == id) return true;
    message.remove_prefix(std::min(end + 1, message.size()));
  }
  return false;
}

std::string describe(const Error::Fields& fields) {
  std::string text = name_of(fields.code);
  if (!fields.raw_reason.empty() && fields.raw_reason != text) text += " " + fields.raw_reason;
  // The gateway's message names the fields that are invalid.
  text += ": " + fields.message;
  if (!fields.request_id.empty() && !has_word(fields.message, fields.request_id)) {
    text += " (request id " + fields.request_id + ")";
  }
  return text;
}

// Parses a number; the whole text must match.
template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

void read_failure(Error::Fields& fields, const v1::CallFailure& failure) {
  fields.reason = failure.reason();
  if (failure.has_usage()) fields.usage = failure.usage();
  fields.output_started = fields.output_started || failure.output_started();
  fields.attempts = failure.attempts();
  fields.model = failure.model();
  fields.upstream_code = failure.upstream_code();
  if (failure.has_upstream_http_status()) {
    fields.upstream_http_status = failure.upstream_http_status();
  }
  fields.upstream_request_id = failure.upstream_request_id();
}

// A detail of an unknown type, or one that cannot be decoded, is skipped.
void read_detail(Error::Fields& fields, const google::protobuf::Any& detail) {
  const std::string& url = detail.type_url();
  const std::string_view type = std::string_view(url).substr(url.rfind('/') + 1);
  if (type == "dashgate.v1.CallFailure") {
    v1::CallFailure failure;
    if (failure.ParseFromString(detail.value())) read_failure(fields, failure);
  } else if (type == "google.rpc.ErrorInfo") {
    client::v1::ErrorInfo info;
    if (info.ParseFromString(detail.value())) fields.raw_reason = info.reason();
  } else if (type == "google.rpc.RetryInfo") {
    client::v1::RetryInfo info;
    if (info.ParseFromString(detail.value()) && info.has_retry_delay()) {
      // The maximum of a Duration, ten thousand years; more would overflow.
      constexpr std::int64_t kMost = 315'576'000'000;
      fields.retry_after =
          std::chrono::seconds(std::clamp<std::int64_t>(info.retry_delay().seconds(), 0, kMost)) +
          std::chrono::milliseconds(info.retry_delay().nanos() / 1'000'000);
    }
  } else if (type == "google.rpc.BadRequest") {
    client::v1::BadRequest request;
    if (!request.ParseFromString(detail.value())) return;
    for (const auto& violation : request.field_violations()) {
      fields.field_violations.push_back({violation.field(), violation.description()});
    }
  } else if (type == "google.rpc.RequestInfo") {
    client::v1::RequestInfo info;
    if (info.ParseFromString(detail.value()) && !info.request_id().empty()) {
      fields.request_id = info.request_id();
    }
  }
}

// What `grpc-retry-pushback-ms` says: nothing, no retry, or a time.
struct Pushback {
  bool is_refusal = false;
  std::optional<std::chrono::milliseconds> delay;
};

Pushback read_pushback(const Metadata& headers) {
  const auto found = headers.find("grpc-retry-pushback-ms");
  if (found == headers.end()) return {};
  const auto delay = parse_number<std::int32_t>(found->second);
  if (!delay || *delay < 0) return {true, std::nullopt};
  return {false, std::chrono::milliseconds(*delay)};
}

// Whether the same call may succeed later.
bool may_succeed(const Error::Fields& fields, const Pushback& pushback) {
  if (fields.retry_after) return true;
  return !pushback.is_refusal && fields.code == grpc::StatusCode::UNAVAILABLE &&
         fields.raw_reason.empty() && fields.reason == v1::ERROR_REASON_UNSPECIFIED;
}

// Whether a deadline ended here: gRPC's own error has no details.
bool has_expired(const Error::Fields& fields, const grpc::ClientContext& context) {
  // The timer of gRPC has another clock.
  constexpr std::chrono::milliseconds kSkew(100);
  return fields.code == grpc::StatusCode::DEADLINE_EXCEEDED && fields.raw_reason.empty() &&
         fields.reason == v1::ERROR_REASON_UNSPECIFIED &&
         context.deadline() <= std::chrono::system_clock::now() + kSkew;
}

}  // namespace

Error::Error(Fields fields)
    : std::runtime_error(describe(fields)),
      fields_(std::make_shared<const Fields>(std::move(fields))) {}

Error Error::from_status(const grpc::Status& status, const grpc::ClientContext& context,
                         std::string request_id, bool output_started) {
  Fields fields;
  fields.code = status.error_code();
  fields.message = status.error_message();
  fields.request_id = std::move(request_id);
  fields.output_started = output_started;
  fields.status = status;
  client::v1::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) read_detail(fields, detail);
  }
  fields.headers = detail::read_headers(context);
  const Pushback pushback = read_pushback(fields.headers);
  if (!fields.retry_after) fields.retry_after = pushback.delay;
  fields.retryable = may_succeed(fields, pushback);
  if (has_expired(fields, context)) {
    fields.reason = v1::DEADLINE_EXCEEDED;
    fields.raw_reason = v1::ErrorReason_Name(fields.reason);
  }
  return Error(std::move(fields));
}

const char* Error::code_name() const noexcept { return name_of(fields_->code); }

}  // namespace dashgate
