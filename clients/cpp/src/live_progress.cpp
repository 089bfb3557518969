#include "live_progress.h"

#include <algorithm>
#include <random>
#include <utility>

#include "call.h"

namespace dashgate::detail {
namespace {

constexpr std::chrono::milliseconds kFirstResumeDelay(100);
constexpr std::chrono::milliseconds kLongestResumeDelay = std::chrono::seconds(5);

// Many lose their connection at the same time.
std::chrono::milliseconds jittered(std::chrono::milliseconds delay) {
  std::random_device random;
  std::uniform_real_distribution<double> factor(0.75, 1.25);
  const double spread = static_cast<double>(delay.count()) * factor(random);
  return std::chrono::milliseconds(static_cast<std::int64_t>(spread));
}

}  // namespace

std::chrono::milliseconds resume_delay(int attempts, const Error& failed) {
  const auto delay = jittered(kFirstResumeDelay * (1 << attempts));
  const auto asked = failed.retry_after().value_or(std::chrono::milliseconds(0));
  return std::min(std::max(delay, asked), kLongestResumeDelay);
}

LiveProgress::LiveProgress(std::string request_id, const v1::ResumeSession& given)
    : request_id_(std::move(request_id)), received_(given), read_(given) {}

void LiveProgress::note_start(v1::ResumeSession& position, const v1::SessionStarted& started) {
  if (!started.session_id().empty()) position.set_session_id(started.session_id());
  if (!started.resume_token().empty()) position.set_token(started.resume_token());
}

void LiveProgress::note_sequence(v1::ResumeSession& position, std::int32_t sequence) {
  position.set_last_sequence(std::max(position.last_sequence(), sequence));
}

std::optional<v1::ResumeSession> LiveProgress::usable(const v1::ResumeSession& position) {
  if (position.token().empty()) return std::nullopt;
  return position;
}

void LiveProgress::receive_start(std::int32_t sequence, const v1::SessionStarted& started) {
  const std::lock_guard lock(mutex_);
  note_start(received_, started);
  // A resumed stream starts with the number of the last event that was received.
  note_sequence(received_, sequence);
}

bool LiveProgress::receive_other(std::int32_t sequence, bool is_output, bool is_end) {
  const std::lock_guard lock(mutex_);
  // Every event after the start is progress.
  attempts_ = 0;
  broken_.reset();
  has_output_ = has_output_ || is_output;
  if (sequence != 0 && sequence <= received_.last_sequence()) return false;
  note_sequence(received_, sequence);
  has_received_end_ = has_received_end_ || is_end;
  return true;
}

std::optional<std::chrono::milliseconds> LiveProgress::resume_after(Error& failed) {
  const std::lock_guard lock(mutex_);
  if (!is_resumable(failed)) {
    failed = final_error(failed.fields());
    return std::nullopt;
  }
  if (attempts_ == kResumeAttempts) {
    // The error of the stream that broke has the cause and the usage; those of the attempts have
    // neither.
    failed = final_error(broken_.value_or(failed).fields());
    return std::nullopt;
  }
  if (!broken_) broken_ = failed;
  const auto delay = resume_delay(attempts_, failed);
  ++attempts_;
  ++resumes_;
  return delay;
}

bool LiveProgress::is_resumable(const Error& failed) const {
  bool is_lost = failed.code() == grpc::StatusCode::UNAVAILABLE;
  if (failed.code() == grpc::StatusCode::INTERNAL || failed.code() == grpc::StatusCode::UNKNOWN) {
    // Of gRPC libraries and proxies. With a reason of the gateway it is final.
    is_lost = failed.raw_reason().empty();
  }
  return is_lost && usable(received_) && !has_received_end_;
}

Error LiveProgress::final_error(Error::Fields fields) const {
  fields.output_started = fields.output_started || has_output_;
  if (!fields.usage && broken_) fields.usage = broken_->usage();
  return Error(std::move(fields));
}

std::optional<Error> LiveProgress::complete() const {
  {
    const std::lock_guard lock(mutex_);
    if (has_received_end_) return std::nullopt;
  }
  return fail(grpc::StatusCode::INTERNAL, v1::STREAM_TRUNCATED,
              "the stream ended without SessionEnded");
}

Error LiveProgress::of_session(Error failed) const {
  const std::lock_guard lock(mutex_);
  return final_error(failed.fields());
}

Error LiveProgress::expire() const {
  return fail(grpc::StatusCode::DEADLINE_EXCEEDED, v1::DEADLINE_EXCEEDED,
              "the deadline of the session has passed");
}

Error LiveProgress::fail(grpc::StatusCode code, std::string message) const {
  const std::lock_guard lock(mutex_);
  return final_error(make_error(code, std::move(message), request_id_).fields());
}

Error LiveProgress::fail(grpc::StatusCode code, v1::ErrorReason reason, std::string message) const {
  const std::lock_guard lock(mutex_);
  return final_error(make_error(code, reason, std::move(message), request_id_).fields());
}

std::optional<v1::ResumeSession> LiveProgress::next_stream() const {
  const std::lock_guard lock(mutex_);
  return usable(received_);
}

std::string LiveProgress::session_id() const {
  const std::lock_guard lock(mutex_);
  return read_.session_id();
}

int LiveProgress::resumes() const {
  const std::lock_guard lock(mutex_);
  return resumes_;
}

std::optional<v1::ResumeSession> LiveProgress::resumption() const {
  const std::lock_guard lock(mutex_);
  return usable(read_);
}

std::optional<v1::SessionEnded> LiveProgress::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace dashgate::detail
