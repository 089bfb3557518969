// Live sessions: speech in and out, while it is spoken.
#ifndef DASHGATE_LIVE_H_
#define DASHGATE_LIVE_H_

#include <dashgate/v1/live_service.pb.h>

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dashgate {

namespace detail {
template <class Request, class Event>
class SessionState;

/// An input iterator over what next() of a source returns, until it returns nothing.
template <class Source, class Value>
class NextIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = Value;
  using difference_type = std::ptrdiff_t;
  using pointer = const Value*;
  using reference = const Value&;

  NextIterator() noexcept = default;
  explicit NextIterator(Source* source) : source_(source) { ++*this; }

  reference operator*() const { return *value_; }
  pointer operator->() const { return &*value_; }
  NextIterator& operator++() {
    value_ = source_->next();
    if (!value_) source_ = nullptr;
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const NextIterator& a, const NextIterator& b) noexcept {
    return a.source_ == b.source_;
  }
  friend bool operator!=(const NextIterator& a, const NextIterator& b) noexcept {
    return !(a == b);
  }

 private:
  Source* source_ = nullptr;
  std::optional<Value> value_;
};
}  // namespace detail

/// The common part of live sessions. One thread may send while another one reads, or a single
/// thread does both alternately. close() may be called from any thread. A session may outlive its
/// client.
///
/// If the connection breaks or the gateway shuts down, the session is resumed on a new stream, with
/// at most six attempts in a row: no event is lost or repeated. An event `session_started` with
/// `resumed` then shows that the input of that moment may be lost. All other errors are final:
/// reading throws Error after the events that came before it, and from then on sending does too.
///
/// A method that sends waits while the gateway accepts no more. After finish() and after the last
/// event, sending throws std::logic_error. Destroying a session closes it.
template <class Request, class Event>
class Session {
 public:
  /// An input iterator over the remaining events.
  using iterator = detail::NextIterator<Session, Event>;

  /// Moves the session; the other one must not be used again.
  Session(Session&& other) noexcept;
  /// Moves the session; the other one must not be used again.
  Session& operator=(Session&& other) noexcept;
  ~Session();

  /// Waits for the next event. Returns nothing after the last one, `session_ended`. An event whose
  /// `event` is unset is of a newer schema: skip it.
  std::optional<Event> next();
  /// The remaining events. Leaving the loop does not end the session.
  iterator begin() { return iterator(this); }
  /// The end of the range.
  iterator end() noexcept { return {}; }

  /// Ends the input. Running responses complete, then the session ends. Read its events.
  void finish();

  /// Leaves the session; readers and senders get an Error with the code CANCELLED. To the gateway
  /// that is a lost connection: if the session has not ended, it ends when the time to resume it is
  /// over, 30 seconds by default.
  void close() noexcept;

  /// Returns the request id, the same for all streams of the session.
  const std::string& request_id() const noexcept;
  /// Returns the id of the session. Empty until the first event was read.
  std::string session_id() const;
  /// Returns how often this object has tried to resume the session.
  int resumes() const;
  /// Returns what a setup needs to continue the session elsewhere after the last event that was
  /// read. Unset until the first event was read. The stream that continues the session ends this
  /// one with ABORTED.
  std::optional<v1::ResumeSession> resumption() const;
  /// Returns the last event, with usage and durations. Unset until it was read.
  std::optional<v1::SessionEnded> ended() const;

 protected:
  /// What a session has in the library.
  using State = detail::SessionState<Request, Event>;

  /// Sessions are made by a client.
  explicit Session(std::unique_ptr<State> state) noexcept;
  /// Sends a message of the schema.
  void send(const Request& request);

 private:
  std::unique_ptr<State> state_;
};

/// A conversation by voice.
///
///     dashgate::LiveSession session = client.live("qwen3-omni-flash-realtime");
///     session.send_text("Good morning.");
///     session.create_response();
///     session.finish();
///     for (const auto& event : session) std::cout << event.response_delta().transcript();
class LiveSession : public Session<v1::ConverseLiveRequest, v1::ConverseLiveResponse> {
 public:
  /// Sends the next piece of audio, bytes in the format of the setup. 100 ms are usual.
  void send_audio(std::string_view audio);
  /// Sends a JPEG image for the turn that is being spoken. Audio must precede it.
  void send_image(std::string_view image);
  /// Sends a text message. create_response() requests the answer.
  void send_text(std::string_view text);
  /// Ends the turn, if turns are manual.
  void commit();
  /// Discards audio and images that are not committed.
  void clear();
  /// Requests a response. The arguments replace those of the session, unless they are empty.
  void create_response(std::string_view instructions = {},
                       const std::vector<std::string>& modalities = {});
  /// Cancels the running response. Nothing of it follows its `response_completed`.
  void cancel_response();
  /// Sends the result of a tool call. create_response() requests the answer.
  void send_tool_result(std::string_view tool_call_id, std::string_view output);
  /// Changes the configuration. What is not set stays.
  void update(const v1::UpdateSession& update);
  /// Removes an item of the conversation.
  void delete_item(std::string_view item_id);

 private:
  friend class Client;
  explicit LiveSession(std::unique_ptr<State> state) noexcept;
};

class SpeechSession;

/// The audio of a speech session, for a range-based for. The session must outlive it.
class SpeechAudio {
 public:
  /// An input iterator over the remaining pieces.
  using iterator = detail::NextIterator<SpeechAudio, std::string>;

  /// Waits for the next piece of audio. Returns nothing after the last one.
  std::optional<std::string> next();
  /// The remaining pieces.
  iterator begin() { return iterator(this); }
  /// The end of the range.
  iterator end() noexcept { return {}; }

 private:
  friend class SpeechSession;
  explicit SpeechAudio(SpeechSession* session) noexcept : session_(session) {}

  SpeechSession* session_;
};

/// Speech of a text, while it is written.
///
///     dashgate::SpeechSession session = client.speak("qwen3-tts-flash-realtime");
///     session.send_text("Good morning.");
///     session.finish();
///     for (const std::string& audio : session.audio()) play(audio);
class SpeechSession : public Session<v1::SynthesizeLiveRequest, v1::SynthesizeLiveResponse> {
 public:
  /// Sends the next piece of the text.
  void send_text(std::string_view text);
  /// Speaks the text so far. Required with SYNTHESIS_MODE_COMMIT.
  void commit();
  /// Discards text that is not spoken yet.
  void clear();

  /// Returns the audio of the remaining events, in pieces.
  SpeechAudio audio() noexcept { return SpeechAudio(this); }

 private:
  friend class Client;
  explicit SpeechSession(std::unique_ptr<State> state) noexcept;
};

}  // namespace dashgate

#endif  // DASHGATE_LIVE_H_
