// A streamed answer.
#ifndef DASHGATE_STREAM_H_
#define DASHGATE_STREAM_H_

#include <dashgate/answer.h>
#include <dashgate/metadata.h>
#include <dashgate/v1/conversation_service.pb.h>

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace dashgate {

namespace detail {
class StreamState;

/// The common part of the two iterators below: an input iterator over the rest of a stream. Value
/// is the type of an item; Reader reads the next one and returns whether there was one.
template <class Value, class Reader>
class StreamIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;
  using pointer = const Value*;
  using reference = const Value&;

  StreamIterator() noexcept = default;
  explicit StreamIterator(StreamState* state) : state_(state) { ++*this; }

  reference operator*() const { return *value_; }
  pointer operator->() const { return value_; }
  StreamIterator& operator++() {
    value_ = Reader::next(*state_);
    if (value_ == nullptr) state_ = nullptr;
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const StreamIterator& a, const StreamIterator& b) noexcept {
    return a.state_ == b.state_;
  }
  friend bool operator!=(const StreamIterator& a, const StreamIterator& b) noexcept {
    return !(a == b);
  }

 private:
  StreamState* state_ = nullptr;
  pointer value_ = nullptr;
};

struct EventReader {
  static const v1::ConverseStreamResponse* next(StreamState& state);
};
struct TextReader {
  static const std::string* next(StreamState& state);
};
}  // namespace detail

/// The text deltas of a stream, for a range-based for.
class TextDeltas {
 public:
  /// An input iterator over the remaining texts.
  using iterator = detail::StreamIterator<std::string, detail::TextReader>;

  /// The remaining texts.
  iterator begin() const { return iterator(state_.get()); }
  /// The end of the range.
  iterator end() const noexcept { return {}; }

 private:
  friend class Stream;
  explicit TextDeltas(std::shared_ptr<detail::StreamState> state) noexcept
      : state_(std::move(state)) {}

  std::shared_ptr<detail::StreamState> state_;
};

/// A streamed answer. It is read once, by one thread, in any mix of the ways below; each read
/// throws Error if the call failed. Destroying the stream and its TextDeltas before the end cancels
/// the call.
///
///     for (const auto& text : client.stream(conversation).text_deltas()) std::cout << text;
class Stream {
 public:
  /// An input iterator over the remaining events.
  using iterator = detail::StreamIterator<v1::ConverseStreamResponse, detail::EventReader>;

  /// The remaining events. An event whose `event` is unset is of a newer schema: skip it.
  iterator begin() { return iterator(state_.get()); }
  /// The end of the range.
  iterator end() noexcept { return {}; }

  /// Returns the remaining text deltas of choice 0, without empty ones.
  TextDeltas text_deltas() { return TextDeltas(state_); }

  /// Reads the remaining events and returns the complete answer.
  Answer final_answer();

  /// Returns the answer of the events that were read so far, also after an error, a break or a
  /// cancellation. A choice without an end has no finish reason. Unset before the first event that
  /// is no heartbeat. Of the thread that reads.
  std::optional<Answer> partial() const;

  /// Returns the metadata of the response: headers, after the last event also trailers, without
  /// binary ones. Empty before the first event. Of the thread that reads.
  const Metadata& headers() const noexcept;

  /// Cancels the call; readers get an Error with the code CANCELLED. Thread-safe.
  void cancel() noexcept;

  /// Returns how often this stream was tried to be resumed.
  int resumes() const noexcept;

  /// Returns the request id of the call.
  const std::string& request_id() const noexcept;

 private:
  friend class Client;
  explicit Stream(std::shared_ptr<detail::StreamState> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<detail::StreamState> state_;
};

}  // namespace dashgate

#endif  // DASHGATE_STREAM_H_
