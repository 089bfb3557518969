// The position in a live session, and when it is resumed.
#ifndef DASHGATE_SRC_LIVE_PROGRESS_H_
#define DASHGATE_SRC_LIVE_PROGRESS_H_

#include <dashgate/error.h>
#include <dashgate/v1/live.pb.h>
#include <dashgate/v1/live_service.pb.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace dashgate::detail {

// Attempts to resume without an event in between. Their delays add up to 6 seconds; the gateway
// keeps a session for 30.
constexpr int kResumeAttempts = 6;

// Returns the delay before a session or a stream is resumed.
std::chrono::milliseconds resume_delay(int attempts, const Error& failed);

// Thread-safe. An event is received once, from a stream, and read once, by the program; between the
// two it may wait while the session is resumed.
class LiveProgress {
 public:
  LiveProgress(std::string request_id, const v1::ResumeSession& given);

  // Notes that an event was received. Returns false if an earlier stream had it.
  template <class Event>
  bool receive(const Event& event) {
    if (event.has_session_started()) {
      receive_start(event.sequence(), event.session_started());
      return true;
    }
    return receive_other(event.sequence(), event.has_response_delta(), event.has_session_ended());
  }

  // Notes that the program reads an event.
  template <class Event>
  void read(const Event& event) {
    const std::lock_guard lock(mutex_);
    if (event.has_session_started()) note_start(read_, event.session_started());
    if (event.has_session_ended()) ended_ = event.session_ended();
    note_sequence(read_, event.sequence());
  }

  // Returns the delay before the session is resumed. Returns nothing if the error of its stream is
  // final, and changes that error to the one to report.
  std::optional<std::chrono::milliseconds> resume_after(Error& failed);

  // Returns the error of a session whose last stream ended with OK; nothing if it is complete.
  std::optional<Error> complete() const;

  // Returns an error that ends the session, with what is known of the session.
  Error of_session(Error failed) const;

  // Returns an error that ends the session, created by this library.
  Error fail(grpc::StatusCode code, std::string message) const;

  // Returns the error of a session whose deadline has passed.
  Error expire() const;

  // Returns what a new stream needs to continue after the last event that was received.
  std::optional<v1::ResumeSession> next_stream() const;

  const std::string& request_id() const noexcept { return request_id_; }
  std::string session_id() const;
  int resumes() const;
  std::optional<v1::ResumeSession> resumption() const;
  std::optional<v1::SessionEnded> ended() const;

 private:
  static void note_start(v1::ResumeSession& position, const v1::SessionStarted& started);
  static void note_sequence(v1::ResumeSession& position, std::int32_t sequence);
  static std::optional<v1::ResumeSession> usable(const v1::ResumeSession& position);

  void receive_start(std::int32_t sequence, const v1::SessionStarted& started);
  bool receive_other(std::int32_t sequence, bool is_output, bool is_end);
  // Returns an error of this library with a reason of the gateway.
  Error fail(grpc::StatusCode code, v1::ErrorReason reason, std::string message) const;
  // The following require the lock.
  bool is_resumable(const Error& failed) const;
  Error final_error(Error::Fields fields) const;

  const std::string request_id_;
  mutable std::mutex mutex_;
  v1::ResumeSession received_;
  v1::ResumeSession read_;
  std::optional<v1::SessionEnded> ended_;
  bool has_received_end_ = false;
  bool has_output_ = false;
  int attempts_ = 0;
  int resumes_ = 0;
  // The error of the stream that broke, until its session has continued.
  std::optional<Error> broken_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_LIVE_PROGRESS_H_
