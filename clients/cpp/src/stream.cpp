#include <dashgate/stream.h>

#include <utility>

#include "stream_state.h"

namespace dashgate {

Answer Stream::final_answer() { return state_->finish(); }

void Stream::cancel() noexcept { state_->cancel(); }

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

StreamState::StreamState(std::unique_ptr<Call> call,
                         v1::ConversationService::StubInterface& service,
                         const v1::ConverseStreamRequest& request,
                         std::chrono::milliseconds idle_timeout)
    : call_(std::move(call)), request_id_(request.request_id()), idle_timeout_(idle_timeout) {
  reader_ = service.PrepareAsyncConverseStream(&call_->context(), request, &queue_);
  reader_->StartCall(this);
}

StreamState::~StreamState() {
  if (!is_over_) cancel();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

const v1::ConverseStreamResponse* StreamState::next() {
  if (error_) throw Error(*error_);
  if (is_over_) return nullptr;
  bool is_well = true;
  if (!is_sent_) {
    is_well = wait();
    is_sent_ = true;
  }
  if (is_well) {
    reader_->Read(&event_, this);
    is_well = wait();
  }
  if (is_well && !is_idle_) {
    fold_.add(event_);
    return &event_;
  }
  end();
  if (error_) throw Error(*error_);
  return nullptr;
}

Answer StreamState::finish() {
  while (next() != nullptr) {
  }
  return Answer(fold_.finish());
}

bool StreamState::wait() {
  void* tag = nullptr;
  bool ok = false;
  if (queue_.AsyncNext(&tag, &ok, from_now(idle_timeout_)) == grpc::CompletionQueue::TIMEOUT) {
    is_idle_ = true;
    cancel();
    queue_.Next(&tag, &ok);
  }
  return ok;
}

void StreamState::end() {
  grpc::Status status;
  reader_->Finish(&status, this);
  wait();
  is_over_ = true;
  if (!is_idle_ && !status.ok()) {
    error_ = Error::from_status(status, call_->context(), request_id_, fold_.has_output());
    return;
  }
  if (!is_idle_ && fold_.completed()) return;
  Error::Fields fields;
  if (is_idle_) {
    fields.code = grpc::StatusCode::DEADLINE_EXCEEDED;
    fields.message = "nothing was received for " + std::to_string(idle_timeout_.count()) +
                     " ms (idle_timeout), not even a heartbeat";
    fields.raw_reason = "STREAM_IDLE";
  } else {
    fields.code = grpc::StatusCode::INTERNAL;
    fields.message = "the stream ended without Completed: the answer is incomplete";
    fields.reason = v1::STREAM_TRUNCATED;
    fields.raw_reason = v1::ErrorReason_Name(fields.reason);
  }
  fields.request_id = request_id_;
  fields.output_started = fold_.has_output();
  error_ = Error(std::move(fields));
}

}  // namespace detail
}  // namespace dashgate
