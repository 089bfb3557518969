// A live session in progress.
#ifndef DASHGATE_SRC_SESSION_STATE_H_
#define DASHGATE_SRC_SESSION_STATE_H_

#include <dashgate/error.h>
#include <dashgate/options.h>
#include <grpcpp/support/sync_stream.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "call.h"
#include "connection_pool.h"
#include "live_progress.h"
#include "log.h"
#include "unreachable.h"

namespace dashgate::detail {

// What a session needs to open its streams.
template <class Request, class Event>
struct SessionSetup {
  using Stream = grpc::ClientReaderWriterInterface<Request, Event>;

  std::string request_id;
  Metadata of_client;
  Metadata of_call;
  Deadline deadline;
  CancellationToken cancellation;
  std::shared_ptr<const Log> log;
  std::shared_ptr<ConnectionLease> lease;
  const char* method = "";
  // What the setup of the program continues; empty for a new session.
  v1::ResumeSession given;
  std::function<std::unique_ptr<Stream>(grpc::ClientContext&)> open;
  // Makes the first message of a stream, which continues a session or starts it.
  std::function<Request(const std::optional<v1::ResumeSession>&)> first;
};

// A session outlives its streams: if one breaks, the session is resumed on another, after the last
// event that was received. The thread that notices it does so, whether it reads or sends.
//
// One thread at a time receives. It holds no lock meanwhile, so that a thread whose message was not
// accepted continues as soon as there is another stream, although the reader waits on it already.
template <class Request, class Event>
class SessionState {
 public:
  // Opens the first stream. Its errors are reported when the session is read.
  explicit SessionState(SessionSetup<Request, Event> setup)
      : setup_(std::move(setup)),
        log_(setup_.log, setup_.method, setup_.request_id),
        progress_(setup_.request_id, setup_.given) {
    cancel_on_request_.emplace(setup_.cancellation, [this] { leave("the call was cancelled"); });
    open_stream();
  }
  SessionState(const SessionState&) = delete;
  SessionState& operator=(const SessionState&) = delete;
  ~SessionState() { leave("the session was closed"); }

  // Returns the next event, or nothing after the last. Throws Error if the session failed, also
  // when called again.
  std::optional<Event> next() {
    const Receiving receiving(*this);
    while (true) {
      std::shared_ptr<Exchange> exchange;
      {
        const std::lock_guard lock(state_);
        if (is_left_ && !is_over_) throw Error(left_error());
        if (!unread_.empty()) return take_unread();
        if (error_) throw Error(*error_);
        if (is_over_) return std::nullopt;
        exchange = exchange_;
      }
      if (std::optional<Event> event = receive(*exchange)) {
        progress_.read(*event);
        return event;
      }
    }
  }

  // Waits until flow control has accepted a message.
  void send(const Request& request) {
    check_request(request, progress_.request_id());
    const std::lock_guard sending(sending_);
    while (true) {
      std::shared_ptr<Exchange> exchange;
      {
        const std::lock_guard lock(state_);
        if (is_left_ && !is_over_) throw Error(left_error());
        if (is_finished_) throw std::logic_error("dashgate: nothing can be sent after finish()");
        if (!is_over_) exchange = exchange_;
      }
      if (exchange == nullptr) return refuse();
      if (exchange->stream->Write(request)) return;
      drain(exchange);
    }
  }

  void finish() {
    const std::lock_guard sending(sending_);
    std::shared_ptr<Exchange> exchange;
    {
      const std::lock_guard lock(state_);
      if (is_finished_) return;
      // A stream that is opened from now on has its input ended by the thread that opens it.
      is_finished_ = true;
      if (!is_over_ && !is_left_) exchange = exchange_;
    }
    if (exchange != nullptr) exchange->stream->WritesDone();
  }

  void leave(const char* why) noexcept {
    const std::lock_guard lock(state_);
    if (!is_left_) left_because_ = why;
    is_left_ = true;
    if (!is_over_) unread_.clear();
    if (exchange_ != nullptr) exchange_->call.context().TryCancel();
    if (opening_ != nullptr) opening_->call.context().TryCancel();
    setup_.lease->release();
    changed_.notify_all();
  }

  const LiveProgress& progress() const noexcept { return progress_; }

 private:
  // One stream.
  struct Exchange {
    explicit Exchange(const SessionSetup<Request, Event>& setup)
        : call(setup.of_client, setup.of_call, setup.deadline, CancellationToken()) {}
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    ~Exchange() {
      if (stream == nullptr || has_status) return;
      call.context().TryCancel();
      stream->Finish();
    }

    Call call;  // which outlives the stream
    std::unique_ptr<grpc::ClientReaderWriterInterface<Request, Event>> stream;
    bool has_status = false;
  };

  // The right to receive events, and to resume the session.
  class Receiving {
   public:
    // Waits for it.
    explicit Receiving(SessionState& session) : session_(session) {
      std::unique_lock lock(session.state_);
      session.changed_.wait(lock, [&] { return !session.is_receiving_; });
      session.is_receiving_ = true;
      has_right_ = true;
    }
    // Waits for it, or until a stream is not the current one any more.
    Receiving(SessionState& session, const std::shared_ptr<Exchange>& exchange)
        : session_(session) {
      std::unique_lock lock(session.state_);
      session.changed_.wait(
          lock, [&] { return !session.is_receiving_ || !session.is_current(exchange); });
      if (!session.is_current(exchange)) return;
      session.is_receiving_ = true;
      has_right_ = true;
    }
    Receiving(const Receiving&) = delete;
    Receiving& operator=(const Receiving&) = delete;
    ~Receiving() {
      if (!has_right_) return;
      const std::lock_guard lock(session_.state_);
      session_.is_receiving_ = false;
      session_.changed_.notify_all();
    }

    bool has_right() const noexcept { return has_right_; }

   private:
    SessionState& session_;
    bool has_right_ = false;
  };

  // Requires the lock.
  bool is_current(const std::shared_ptr<Exchange>& exchange) const {
    return !is_over_ && exchange_ == exchange;
  }

  // Returns the oldest event that a sender received. Requires the lock.
  Event take_unread() {
    Event event = std::move(unread_.front());
    unread_.pop_front();
    progress_.read(event);
    return event;
  }

  // Opens a stream that starts the session or continues it. If that fails, reading has the status.
  void open_stream() {
    const auto exchange = std::make_shared<Exchange>(setup_);
    grpc::ClientContext& context = exchange->call.context();
    // With the first message, so that nothing waits before the call can be cancelled.
    context.set_initial_metadata_corked(true);
    exchange->stream = setup_.open(context);
    {
      const std::lock_guard lock(state_);
      opening_ = exchange;
      if (is_left_) context.TryCancel();
    }
    exchange->stream->Write(setup_.first(progress_.next_stream()));
    bool is_finished = false;
    {
      const std::lock_guard lock(state_);
      exchange_ = exchange;
      opening_.reset();
      is_finished = is_finished_;
      changed_.notify_all();
    }
    if (is_finished) exchange->stream->WritesDone();
  }

  // Returns the next event of a stream. Returns nothing if it was received before, or if the stream
  // has ended; the session is then resumed, or over. Requires the right to receive.
  std::optional<Event> receive(Exchange& exchange) {
    Event event;
    if (exchange.stream->Read(&event)) {
      if (!progress_.receive(event)) return std::nullopt;
      return event;
    }
    const grpc::Status status = exchange.stream->Finish();
    exchange.has_status = true;
    if (status.ok()) {
      stop(progress_.complete());
    } else {
      recover(failure(status, exchange.call));
    }
    return std::nullopt;
  }

  // Returns the error of a stream.
  Error failure(const grpc::Status& status, const Call& call) const {
    return call_error(status, call, progress_.request_id(), *setup_.lease->connection().channel);
  }

  // Resumes the session after a stream failed, or ends it. Requires the right to receive.
  void recover(Error failed) {
    if (is_left()) return stop(left_error());
    // There is no time for another attempt.
    if (was_late(failed)) return stop(progress_.of_session(std::move(failed)));
    const auto delay = progress_.resume_after(failed);
    if (!delay) return stop(std::move(failed));
    log_.resume(progress_.resumes(), *delay);
    std::chrono::nanoseconds span = *delay;
    if (setup_.deadline) {
      // It is of the system's clock, as all of gRPC.
      const auto left = *setup_.deadline - std::chrono::system_clock::now();
      span = std::min<std::chrono::nanoseconds>(span, left);
    }
    {
      std::unique_lock lock(state_);
      changed_.wait_for(lock, span, [this] { return is_left_; });
    }
    if (is_left()) return stop(left_error());
    if (is_over(setup_.deadline)) {
      return stop(is_of_connection(failed) ? progress_.of_session(std::move(failed))
                                           : progress_.expire());
    }
    open_stream();
  }

  void stop(std::optional<Error> error) {
    const std::lock_guard lock(state_);
    if (error) {
      log_.fail(*error);
    } else {
      log_.succeed();
    }
    error_ = std::move(error);
    is_over_ = true;
    setup_.lease->release();
    changed_.notify_all();
  }

  // Reads what is left of a stream that accepts no more messages: its status comes last. The events
  // are at most those that flow control had allowed.
  void drain(const std::shared_ptr<Exchange>& exchange) {
    const Receiving receiving(*this, exchange);
    if (!receiving.has_right()) return;
    while (true) {
      {
        const std::lock_guard lock(state_);
        if (!is_current(exchange)) return;
      }
      if (std::optional<Event> event = receive(*exchange)) {
        const std::lock_guard lock(state_);
        if (!is_left_) unread_.push_back(*std::move(event));
      }
    }
  }

  // The result of sending to a session that is over. While there are events that were not read,
  // reading reports the error, after them.
  void refuse() {
    const std::lock_guard lock(state_);
    if (!unread_.empty()) return;
    if (error_) throw Error(*error_);
    throw std::logic_error("dashgate: the session has ended");
  }

  bool is_left() const {
    const std::lock_guard lock(state_);
    return is_left_;
  }

  Error left_error() const { return progress_.fail(grpc::StatusCode::CANCELLED, left_because_); }

  const SessionSetup<Request, Event> setup_;
  CallLog log_;
  LiveProgress progress_;

  std::mutex sending_;  // held while a message is sent; taken before the other

  mutable std::mutex state_;  // protects what follows; held for moments only
  std::condition_variable changed_;
  std::deque<Event> unread_;  // received by a sender
  std::shared_ptr<Exchange> exchange_;
  std::shared_ptr<Exchange> opening_;
  std::optional<Error> error_;
  const char* left_because_ = "";
  bool is_left_ = false;
  bool is_over_ = false;
  bool is_finished_ = false;
  bool is_receiving_ = false;

  std::optional<CancelOnRequest> cancel_on_request_;  // the last, so that it is destroyed first
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_SESSION_STATE_H_
