// The loop of tools with streams.
#ifndef DASHGATE_TOOL_STREAM_H_
#define DASHGATE_TOOL_STREAM_H_

#include <dashgate/answer.h>
#include <dashgate/live.h>
#include <dashgate/metadata.h>
#include <dashgate/v1/conversation_service.pb.h>

#include <memory>
#include <optional>
#include <string>

namespace dashgate {

class ToolTextDeltas;

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

  /// Returns the remaining text deltas of choice 0 of all rounds, without empty ones.
  ToolTextDeltas text_deltas();

  /// Reads the remaining events and returns the last answer.
  Answer final_answer();

  /// Returns the answer of the round so far, as Stream::partial does.
  std::optional<Answer> partial() const;

  /// Returns the metadata of the response of the round, as Stream::headers does.
  const Metadata& headers() const noexcept;

  /// Cancels the call of the round, and runs no more functions; readers get an Error with the code
  /// CANCELLED. Thread-safe.
  void cancel() noexcept;

 private:
  friend class Client;
  friend class ToolTextDeltas;
  struct State;
  explicit ToolStream(std::shared_ptr<State> state) noexcept;

  std::shared_ptr<State> state_;
};

/// The text deltas of a ToolStream, for a range-based for. They keep it alive.
class ToolTextDeltas {
 public:
  /// An input iterator over the remaining texts.
  using iterator = detail::NextIterator<ToolTextDeltas, std::string>;

  /// Returns the next text, or nothing after the last answer. Throws as ToolStream::next does.
  std::optional<std::string> next();
  /// The remaining texts.
  iterator begin() { return iterator(this); }
  /// The end of the texts.
  iterator end() noexcept { return {}; }

 private:
  friend class ToolStream;
  explicit ToolTextDeltas(std::shared_ptr<ToolStream::State> state) noexcept;

  std::shared_ptr<ToolStream::State> state_;
};

}  // namespace dashgate

#endif  // DASHGATE_TOOL_STREAM_H_
