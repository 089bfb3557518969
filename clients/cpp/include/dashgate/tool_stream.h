// The loop of tools with streams.
#ifndef DASHGATE_TOOL_STREAM_H_
#define DASHGATE_TOOL_STREAM_H_

#include <dashgate/answer.h>
#include <dashgate/live.h>
#include <dashgate/metadata.h>
#include <dashgate/v1/conversation_service.pb.h>

#include <memory>
#include <optional>

namespace dashgate {

/// The streams of Client::stream_tools, one for each round. It is read once, by one thread, which
/// also runs the functions. The client and the conversation must outlive it. Destroying it before
/// the end cancels the call of its round.
class ToolStream {
 public:
  /// An input iterator over the remaining events.
  using iterator = detail::NextIterator<ToolStream, v1::ConverseStreamResponse>;

  /// Moves the stream; the other one must not be used again.
  ToolStream(ToolStream&& other) noexcept;
  /// Moves the stream; the other one must not be used again.
  ToolStream& operator=(ToolStream&& other) noexcept;
  ~ToolStream();

  /// Returns the next event of whatever round, or nothing after the last answer. Throws Error if a
  /// call failed, and what a function threw.
  std::optional<v1::ConverseStreamResponse> next();
  /// The remaining events of all rounds in order.
  iterator begin() { return iterator(this); }
  /// The end of the events.
  iterator end() noexcept { return {}; }

  /// Reads the remaining events and returns the last answer.
  Answer final_answer();

  /// Returns the answer of the round so far, as Stream::partial does.
  std::optional<Answer> partial() const;

  /// Cancels the call of the round; readers get an Error with the code CANCELLED. Thread-safe.
  void cancel() noexcept;

 private:
  friend class Client;
  struct State;
  explicit ToolStream(std::unique_ptr<State> state) noexcept;

  std::unique_ptr<State> state_;
};

}  // namespace dashgate

#endif  // DASHGATE_TOOL_STREAM_H_
