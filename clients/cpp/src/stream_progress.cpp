#include "stream_progress.h"

#include <utility>

#include "live_progress.h"

namespace dashgate::detail {
namespace {

// Whether a connection was lost, as gRPC libraries and proxies report it, or the call may go on at
// another replica. Errors with another reason are final.
bool is_lost(const Error& failed) {
  if (!failed.raw_reason().empty()) {
    return failed.raw_reason() == "SHUTTING_DOWN" || failed.raw_reason() == "STORE_DOWN";
  }
  return failed.code() == grpc::StatusCode::UNAVAILABLE ||
         failed.code() == grpc::StatusCode::INTERNAL || failed.code() == grpc::StatusCode::UNKNOWN;
}

// Whether the gateway does not have the call any more: what broke the stream is the cause.
bool is_gone(const Error& failed) {
  return failed.code() == grpc::StatusCode::OUT_OF_RANGE ||
         failed.code() == grpc::StatusCode::NOT_FOUND ||
         failed.code() == grpc::StatusCode::UNIMPLEMENTED;
}

}  // namespace

void StreamProgress::announce(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  const auto found = metadata.find("dashgate-resumable");
  if (is_wanted_ && !has_started_ && found != metadata.end() && found->second == "true") {
    is_possible_ = true;
  }
}

StreamProgress::Received StreamProgress::receive(const v1::ConverseStreamResponse& event) {
  // A heartbeat has the number of the event before it.
  has_events_ = true;
  const bool counts = !event.has_heartbeat();
  if (resumes_ > 0 && counts && event.sequence() > sequence_ + 1) {
    is_possible_ = false;
    return Received::kMissing;
  }
  attempts_ = 0;
  if (event.has_started() && !has_started_) {
    is_possible_ = is_wanted_ && event.started().resumable();
    has_started_ = true;
  }
  if (!counts) return Received::kNew;
  if (resumes_ > 0 && event.sequence() <= sequence_) return Received::kKnown;
  sequence_ = event.sequence();
  if (event.has_completed()) is_complete_ = true;
  return Received::kNew;
}

std::optional<std::chrono::milliseconds> StreamProgress::resume_after(
    std::optional<Error>& failed) {
  if (!failed || !is_possible_) return std::nullopt;
  const bool lost = is_lost(*failed);
  if (!lost && attempts_ == 0) return std::nullopt;
  if (lost && is_complete_) {
    failed.reset();
    return std::nullopt;
  }
  if (attempts_ == 0) broken_ = failed;
  if (!lost) {
    if (is_gone(*failed)) {
      failed = broken_;
    } else {
      failed = with_usage(*failed);
    }
    return std::nullopt;
  }
  if (attempts_ == kResumeAttempts) {
    failed = broken_;
    return std::nullopt;
  }
  const auto delay = resume_delay(attempts_, *failed);
  ++attempts_;
  ++resumes_;
  return delay;
}

Error StreamProgress::with_usage(Error error) const {
  if (!broken_ || error.usage()) return error;
  Error::Fields fields = error.fields();
  fields.usage = broken_->usage();
  return Error(std::move(fields));
}

bool StreamProgress::must_leave(bool is_late) const noexcept {
  if (!is_wanted_ || is_complete_ || (has_started_ && !is_possible_)) return false;
  // A caller that chose the request id can fetch the answer after the deadline.
  return !(is_late && is_named_);
}

}  // namespace dashgate::detail
