// The last event of a stream, and when a stream whose connection is lost is resumed.
#ifndef DASHGATE_SRC_STREAM_PROGRESS_H_
#define DASHGATE_SRC_STREAM_PROGRESS_H_

#include <dashgate/error.h>
#include <dashgate/v1/conversation_service.pb.h>
#include <grpcpp/support/string_ref.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

namespace dashgate::detail {

// Of the reading thread, except for must_leave.
class StreamProgress {
 public:
  enum class Received {
    kNew,
    kKnown,    // received on an earlier connection
    kMissing,  // not the next one: the stream fails with the error that broke it
  };

  // `is_named`: the caller chose the request id, so that the call may have other readers.
  StreamProgress(bool is_wanted, bool is_named) : is_wanted_(is_wanted), is_named_(is_named) {}

  // Notes the metadata of a response, which precedes Started.
  void announce(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata);

  // Notes an event.
  Received receive(const v1::ConverseStreamResponse& event);

  // Returns the delay before the stream is resumed. Returns nothing if it has ended: with the
  // error, which is replaced by the one to report, or well, if `failed` is then unset.
  std::optional<std::chrono::milliseconds> resume_after(std::optional<Error>& failed);

  // Returns an error that ends the stream, with the usage of the one that broke it.
  Error with_usage(Error error) const;

  // Returns whether the gateway still waits for a stream that was left, or, if `is_late`, whose
  // deadline has passed. Thread-safe.
  bool must_leave(bool is_late) const noexcept;

  // Whether anything was received, even a heartbeat.
  bool has_events() const noexcept { return has_events_; }
  std::int32_t sequence() const noexcept { return sequence_; }
  int resumes() const noexcept { return resumes_; }
  // The error that broke the stream.
  const std::optional<Error>& broken() const noexcept { return broken_; }

 private:
  const bool is_wanted_;
  const bool is_named_;
  std::atomic<bool> has_started_{false};
  // Whether the gateway resumes the stream.
  std::atomic<bool> is_possible_{false};
  std::atomic<bool> is_complete_{false};
  bool has_events_ = false;
  std::int32_t sequence_ = 0;
  int attempts_ = 0;
  int resumes_ = 0;
  std::optional<Error> broken_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_STREAM_PROGRESS_H_
