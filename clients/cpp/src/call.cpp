#include "call.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "headers.h"
#include "json.h"

namespace dashgate::detail {
namespace {

bool is_name(std::string_view name) {
  const auto fits = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '_' ||
           letter == '-' || letter == '.';
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), fits);
}

bool is_printable(std::string_view value) {
  return std::all_of(value.begin(), value.end(),
                     [](char letter) { return letter >= ' ' && letter <= '~'; });
}

// Returns the path of the first text that is not UTF-8, empty if there is none. A path ends at a
// map, whose key may be that text.
std::string find_no_utf8(const google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& values = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  values.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!is_message && field->type() != FieldDescriptor::TYPE_STRING) continue;
    const bool is_list = field->is_repeated();
    const int count = is_list ? values.FieldSize(message, field) : 1;
    for (int at = 0; at < count; ++at) {
      std::string path(field->name());
      if (is_list && !field->is_map()) path += "[" + std::to_string(at) + "]";
      if (is_message) {
        const std::string rest =
            find_no_utf8(is_list ? values.GetRepeatedMessage(message, field, at)
                                 : values.GetMessage(message, field));
        if (!rest.empty()) return field->is_map() ? path : path + "." + rest;
        continue;
      }
      std::string copy;
      const std::string& text = is_list
                                    ? values.GetRepeatedStringReference(message, field, at, &copy)
                                    : values.GetStringReference(message, field, &copy);
      if (!is_utf8(text)) return path;
    }
  }
  return {};
}

}  // namespace

bool is_over(const Deadline& deadline) {
  return deadline && *deadline <= std::chrono::system_clock::now();
}

std::string given_id(const std::string& request_id, const Metadata& metadata) {
  if (!request_id.empty()) return request_id;
  const auto found = metadata.find("x-request-id");
  return found == metadata.end() ? std::string() : found->second;
}

std::string make_uuid() {
  std::random_device random;
  std::array<std::uint32_t, 4> words{};
  std::generate(words.begin(), words.end(), [&random] { return random(); });
  words[1] = (words[1] & 0xffff0fffU) | 0x00004000U;  // version 4
  words[2] = (words[2] & 0x3fffffffU) | 0x80000000U;  // the usual variant
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string uuid;
  for (std::size_t digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) uuid += '-';
    uuid += kDigits[(words.at(digit / 8) >> (28 - 4 * (digit % 8))) & 0xfU];
  }
  return uuid;
}

Metadata with_request_id(Metadata metadata, const std::string& request_id) {
  metadata.erase("x-request-id");
  metadata.emplace("x-request-id", request_id);
  return metadata;
}

void check_metadata(const Metadata& metadata) {
  for (const auto& [name, value] : metadata) {
    if (!is_name(name)) {
      throw std::invalid_argument("dashgate: metadata name `" + name +
                                  "` is not of small letters, digits, `_`, `-` and `.`");
    }
    if (!is_binary(name) && !is_printable(value)) {
      throw std::invalid_argument("dashgate: the value of metadata `" + name +
                                  "` is not printable ASCII" +
                                  (name == "authorization" ? " (is there a line end in the key?)"
                                                           : "; a name in `-bin` takes bytes"));
    }
  }
}

void add_metadata(grpc::ClientContext& context, const Metadata& of_client,
                  const Metadata& of_call) {
  for (const auto& [name, value] : of_client) {
    if (of_call.count(name) == 0) context.AddMetadata(name, value);
  }
  for (const auto& [name, value] : of_call) context.AddMetadata(name, value);
}

std::chrono::system_clock::time_point from_now(std::chrono::milliseconds span) {
  constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365 * 100);
  return std::chrono::system_clock::now() +
         std::clamp(span, std::chrono::milliseconds::zero(), kLongest);
}

Error make_error(grpc::StatusCode code, std::string message, std::string request_id) {
  Error::Fields fields;
  fields.code = code;
  fields.message = std::move(message);
  fields.request_id = std::move(request_id);
  return Error(std::move(fields));
}

Error make_error(grpc::StatusCode code, v1::ErrorReason reason, std::string message,
                 std::string request_id) {
  Error::Fields fields = make_error(code, std::move(message), std::move(request_id)).fields();
  fields.reason = reason;
  fields.raw_reason = v1::ErrorReason_Name(reason);
  return Error(std::move(fields));
}

Error cancelled(std::string request_id) {
  return make_error(grpc::StatusCode::CANCELLED, "the call was cancelled", std::move(request_id));
}

Error expired(std::string request_id) {
  return make_error(grpc::StatusCode::DEADLINE_EXCEEDED, v1::DEADLINE_EXCEEDED, "Deadline Exceeded",
                    std::move(request_id));
}

void check_request(const google::protobuf::Message& message, const std::string& request_id) {
  if (const std::string path = find_no_utf8(message); !path.empty()) {
    Error::Fields fields =
        make_error(grpc::StatusCode::INVALID_ARGUMENT, path + ": the text is not UTF-8", request_id)
            .fields();
    fields.field_violations.push_back({path, "the text is not UTF-8"});
    throw Error(std::move(fields));
  }
  if (message.ByteSizeLong() <= static_cast<std::size_t>(std::numeric_limits<int>::max())) return;
  throw make_error(grpc::StatusCode::RESOURCE_EXHAUSTED, v1::MESSAGE_TOO_LARGE,
                   "the request is larger than 2 GiB, the most of protobuf; upload the media",
                   request_id);
}

Call::Call(const Metadata& of_client, const Metadata& of_call, const Deadline& deadline,
           const CancellationToken& cancellation)
    : cancel_on_request_(cancellation, [this] { context_.TryCancel(); }) {
  check_metadata(of_call);
  add_metadata(context_, of_client, of_call);
  if (deadline) context_.set_deadline(*deadline);
}

}  // namespace dashgate::detail
