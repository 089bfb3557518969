#include <dashgate/stream.h>

#include <algorithm>
#include <utility>

#include "headers.h"
#include "retry.h"
#include "stream_state.h"
#include "unreachable.h"

namespace dashgate {

Answer Stream::final_answer() { return state_->finish(); }

void Stream::cancel() noexcept { state_->cancel(); }

std::optional<Answer> Stream::partial() const { return state_->partial(); }

const Metadata& Stream::headers() const noexcept { return state_->headers(); }

int Stream::resumes() const noexcept { return state_->resumes(); }

const std::string& Stream::request_id() const noexcept { return state_->request_id(); }

namespace detail {

const v1::ConverseStreamResponse* EventReader::next(StreamState& state) { return state.next(); }

const std::string* TextReader::next(StreamState& state) {
  while (const v1::ConverseStreamResponse* event = state.next()) {
    const v1::Delta& delta = event->delta();
    if (delta.choice_index() == 0 && !delta.text().empty()) return &delta.text();
  }
  return nullptr;
}

StreamState::StreamState(StreamClient client, StreamSetup setup)
    : client_(std::move(client)),
      request_(std::move(setup.request)),
      metadata_(std::move(setup.metadata)),
      deadline_(setup.deadline),
      max_retries_(setup.max_retries),
      is_late_(setup.is_late),
      log_(client_.log, "ConverseStream", request_.request_id()),
      progress_(request_.resumable(), setup.is_named),
      lease_(client_.pool),
      cancel_on_request_(setup.cancellation, [this] { cancel(); }) {
  if (lease_.is_ready() && !is_late_) open();
}

StreamState::~StreamState() {
  if (!is_over_) cancel();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
  // It lies in the memory of the call.
  reader_.reset();
}

std::optional<Error> StreamState::connect() {
  if (!is_late_ && lease_.wait(deadline_)) {
    open();
    return std::nullopt;
  }
  // Nothing was sent, and another call may have this request id.
  is_left_ = true;
  const std::lock_guard lock(mutex_);
  if (is_cancelled_ || !is_over(deadline_)) return lease_error(is_cancelled_, request_id());
  return is_late_ ? expired(request_id()) : client_.pool->late(request_id());
}

void StreamState::open() {
  is_open_ = true;
  auto call = std::make_unique<Call>(client_.metadata, metadata_, deadline_, CancellationToken());
  // It lies in the memory of the call before.
  reader_.reset();
  {
    const std::lock_guard lock(mutex_);
    if (is_cancelled_) {
      call->context().TryCancel();
      // Before the first connection nothing is sent, and another call may have this request id.
      if (call_ == nullptr) is_left_ = true;
    }
    call_.swap(call);
    ++opened_;
    // It sets what may_have_it() reads.
    v1::ConversationService::StubInterface& service = *lease_.connection().conversations;
    reader_ = service.PrepareAsyncConverseStream(&call_->context(), request_, &queue_);
  }
  is_sent_ = false;
  has_headers_ = false;
  reader_->StartCall(this);
}

bool StreamState::may_have_it() const {
  return opened_ > 1 || (call_ != nullptr && has_connected(call_->context()));
}

void StreamState::cancel() noexcept {
  bool is_sent = false;
  {
    const std::lock_guard lock(mutex_);
    // gRPC forgets it with the call.
    if (!std::exchange(is_cancelled_, true)) had_it_ = may_have_it();
    is_sent = had_it_;
    if (call_ != nullptr) call_->context().TryCancel();
    changed_.notify_all();
  }
  lease_.release();
  if (is_sent) leave(false);
}

const v1::ConverseStreamResponse* StreamState::next() {
  if (error_) throw Error(*error_);
  if (!is_open_ && !is_over_) {
    if (std::optional<Error> failed = connect()) end(std::move(failed));
  }
  while (!is_over_) {
    if (read()) {
      switch (progress_.receive(event_)) {
        case StreamProgress::Received::kNew:
          fold_.add(event_);
          return &event_;
        case StreamProgress::Received::kKnown:
          continue;
        case StreamProgress::Received::kMissing:
          call_->context().TryCancel();
          status();
          end(progress_.broken());
          continue;
      }
    }
    std::optional<Error> failed = status();
    const std::optional<Error> latest = failed;
    const auto delay = next_attempt(failed);
    if (!delay) {
      end(std::move(failed));
    } else if (!pause(*delay)) {
      end(make_error(grpc::StatusCode::CANCELLED, "the stream was cancelled", request_id()));
    } else if (is_over(deadline_)) {
      end(progress_.with_usage(is_of_connection(*latest) ? *latest : expired(request_id())));
    } else {
      request_.set_after_sequence(progress_.sequence());
      open();
    }
  }
  if (error_) throw Error(*error_);
  return nullptr;
}

Answer StreamState::finish() {
  while (next() != nullptr) {
  }
  return Answer(fold_.finish(), headers_);
}

std::optional<Answer> StreamState::partial() const {
  if (fold_.is_empty()) return std::nullopt;
  return Answer(fold_.finish(), headers_);
}

std::optional<std::chrono::milliseconds> StreamState::next_attempt(std::optional<Error>& failed) {
  if (is_idle_) return std::nullopt;
  if (auto delay = progress_.resume_after(failed)) {
    log_.resume(resumes(), *delay);
    return delay;
  }
  if (!failed || progress_.has_events() || resumes() > 0) return std::nullopt;
  const auto delay = throttle_delay(*failed, max_retries_ - retries_, deadline_);
  if (delay) log_.retry(++retries_, *delay);
  return delay;
}

bool StreamState::read() {
  bool is_well = true;
  if (!is_sent_) {
    is_well = wait();
    is_sent_ = true;
  }
  if (is_well) {
    reader_->Read(&event_, this);
    is_well = wait();
  }
  if (is_well && !std::exchange(has_headers_, true)) headers_ = read_initial(call_->context());
  return is_well && !is_idle_;
}

bool StreamState::wait() {
  void* tag = nullptr;
  bool ok = false;
  if (queue_.AsyncNext(&tag, &ok, from_now(client_.idle_timeout)) ==
      grpc::CompletionQueue::TIMEOUT) {
    is_idle_ = true;
    call_->context().TryCancel();
    queue_.Next(&tag, &ok);
  }
  return ok;
}

bool StreamState::pause(std::chrono::milliseconds delay) {
  auto until = from_now(delay);
  if (deadline_) until = std::min(until, *deadline_);
  std::unique_lock lock(mutex_);
  return !changed_.wait_until(lock, until, [this] { return is_cancelled_; });
}

std::optional<Error> StreamState::status() {
  grpc::Status status;
  reader_->Finish(&status, this);
  wait();
  progress_.announce(call_->context().GetServerInitialMetadata());
  headers_ = read_headers(call_->context());
  const bool was_reached = has_headers_ || !headers_.empty();
  grpc::ChannelInterface& channel = *lease_.connection().channel;
  if (is_idle_) {
    if (!was_reached) {
      if (auto failed = unreachable(*call_, request_id(), channel)) return failed;
    }
    const std::string limit = std::to_string(client_.idle_timeout.count());
    Error::Fields fields =
        make_error(grpc::StatusCode::DEADLINE_EXCEEDED,
                   "nothing was received for " + limit + " ms (idle_timeout), not even a heartbeat",
                   request_id())
            .fields();
    fields.raw_reason = "STREAM_IDLE";
    return Error(std::move(fields));
  }
  if (!status.ok() && was_reached) {
    return Error::from_status(status, call_->context(), request_id());
  }
  if (!status.ok()) return call_error(status, *call_, request_id(), channel);
  if (fold_.completed()) return std::nullopt;
  return make_error(grpc::StatusCode::INTERNAL, v1::STREAM_TRUNCATED,
                    "the stream ended without Completed: the answer is incomplete", request_id());
}

void StreamState::end(std::optional<Error> error) {
  is_over_ = true;
  lease_.release();
  if (error) {
    // cancel() may be between ending the connection's call, which brought this error, and leaving.
    const bool is_cancelled = [&] {
      const std::lock_guard lock(mutex_);
      const bool is_unavailable = error->code() == grpc::StatusCode::UNAVAILABLE;
      if (is_cancelled_ ? !had_it_ : is_unavailable && !may_have_it()) is_left_ = true;
      return is_cancelled_;
    }();
    if (is_cancelled) leave(false);
    if (error->code() == grpc::StatusCode::DEADLINE_EXCEEDED || is_idle_ || is_over(deadline_)) {
      leave(true);
    }
  }
  // Whatever is cancelled from now on has ended.
  is_left_ = true;
  if (!error) return log_.succeed();
  Error::Fields fields = error->fields();
  fields.output_started = fields.output_started || fold_.has_output();
  if (fields.headers.empty()) fields.headers = headers_;
  error_ = Error(std::move(fields));
  log_.fail(*error_);
}

void StreamState::leave(bool is_late) noexcept {
  // Two threads may leave a stream at once. The second one, which may end the client next, must not
  // go on before the first one's call has begun: the client waits for those that have.
  const std::lock_guard lock(leaving_);
  if (progress_.must_leave(is_late) && !is_left_.exchange(true)) {
    client_.canceller->cancel(request_id(), client_.metadata, metadata_);
  }
}

}  // namespace detail
}  // namespace dashgate
