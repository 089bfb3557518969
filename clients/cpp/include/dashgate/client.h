// The client.
#ifndef DASHGATE_CLIENT_H_
#define DASHGATE_CLIENT_H_

#include <dashgate/answer.h>
#include <dashgate/conversation.h>
#include <dashgate/json_schema.h>
#include <dashgate/live.h>
#include <dashgate/options.h>
#include <dashgate/output.h>
#include <dashgate/stream.h>
#include <dashgate/tool.h>
#include <dashgate/tool_stream.h>
#include <dashgate/v1/media_service.pb.h>
#include <dashgate/v1/model.pb.h>
#include <dashgate/v1/stored_turn.pb.h>

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace grpc {
class ChannelInterface;
class ClientContext;
}  // namespace grpc

namespace dashgate {

/// Returns the version of this library, as in its user agent.
std::string_view version() noexcept;

/// A client of a dashgate gateway. It is thread-safe, connects with the first call, and must
/// outlive its calls, except for streams and sessions. A failed call throws Error.
///
/// It has up to 20 connections with 100 calls each. Calls beyond that wait in their order until one
/// ends, within their deadline.
///
///     dashgate::Client client;
///     std::cout << client.converse(conversation).text();
class Client {
 public:
  /// Throws std::invalid_argument if an option is invalid.
  explicit Client(ClientOptions options = {});
  /// Uses an existing channel. Target, TLS, message sizes, keepalive and retries are those of the
  /// channel, so `target` and `tls` must not be set.
  explicit Client(std::shared_ptr<grpc::ChannelInterface> channel, ClientOptions options = {});
  /// Moves the client; the other one must not be used again.
  Client(Client&& other) noexcept;
  /// Moves the client; the other one must not be used again.
  Client& operator=(Client&& other) noexcept;
  /// Waits, for at most 2 seconds, until the gateway has ended the calls whose streams were left.
  /// Streams that still wait for a connection fail with CANCELLED.
  ~Client();

  /// Returns the next answer when complete. The default deadline is 10 minutes.
  Answer converse(const Conversation& conversation, const CallOptions& options = {}) const;

  /// Returns the next answer as a stream. There is no deadline by default. Large files of the
  /// conversation are uploaded before it returns. If all connections are full, the call begins when
  /// the stream is read and another call has ended; the idle timeout does not run before.
  Stream stream(const Conversation& conversation, const CallOptions& options = {}) const;

  /// Returns the next answer as a value of a protobuf message, whose JSON Schema the model gets. If
  /// the answer does not satisfy it, throws Error with INTERNAL and raw_reason OUTPUT_INVALID. The
  /// conversation is not changed.
  ///
  ///     const auto city = client.converse_as<example::City>(conversation);
  ///     std::cout << city.value.name();
  template <class Message>
  Output<Message> converse_as(const Conversation& conversation,
                              const OutputOptions& options = {}) const {
    Message message;
    const OutputSchema schema{std::string(Message::descriptor()->name()),
                              json_schema(*Message::descriptor())};
    Answer answer = converse_parsed(
        conversation, schema,
        [&message](const std::string& text) {
          message.Clear();
          parse_json(text, message);
        },
        options);
    return {std::move(message), std::move(answer)};
  }

  /// Returns the next answer as a value that `parse` makes of its text, with a schema of the
  /// program. `parse` throws an exception of the standard library if it cannot.
  template <class Parse>
  auto converse_as(const Conversation& conversation, const OutputSchema& schema, Parse parse,
                   const OutputOptions& options = {}) const
      -> Output<std::decay_t<decltype(parse(std::string()))>> {
    std::optional<std::decay_t<decltype(parse(std::string()))>> value;
    Answer answer = converse_parsed(
        conversation, schema, [&](const std::string& text) { value.emplace(parse(text)); },
        options);
    return {*std::move(value), std::move(answer)};
  }

  /// Cancels a running call of this caller by its request id, whatever process made it. Its streams
  /// fail with ABORTED and the reason CALL_CANCELLED. If no such call is running, throws Error with
  /// the reason CALL_NOT_FOUND. Generation options and request id are not used.
  void cancel_call(const std::string& request_id, const CallOptions& options = {}) const;

  /// Opens a conversation by voice. Errors of the gateway are thrown when it is read. If all
  /// connections are full, waits until another call ends.
  LiveSession live(const v1::LiveSetup& setup, const SessionOptions& options = {}) const;
  /// Opens a conversation by voice with a model.
  LiveSession live(const std::string& model, const SessionOptions& options = {}) const;

  /// Opens a session that speaks a text while it is written.
  SpeechSession speak(const v1::SynthesisSetup& setup, const SessionOptions& options = {}) const;
  /// Opens a session that speaks a text while it is written, with a model.
  SpeechSession speak(const std::string& model, const SessionOptions& options = {}) const;

  /// Runs the tools that the model calls until it returns an answer without tool calls, which is
  /// returned. All messages are appended to the conversation. If the model calls tools in more than
  /// `max_rounds` rounds, throws Error with FAILED_PRECONDITION and raw_reason TOOL_ROUNDS. The
  /// options apply to each call; a request_id gets `-2`, `-3`, ... from the second call on.
  Answer run_tools(Conversation& conversation, const std::vector<Tool>& tools,
                   const ToolOptions& options = {}) const;

  /// The same with streams: returns the events of all rounds, in order.
  ToolStream stream_tools(Conversation& conversation, std::vector<Tool> tools,
                          const ToolOptions& options = {}) const;

  /// Uploads a file to DashScope's storage, in chunks. Pass the returned `uri` to audio(), image()
  /// or video().
  v1::UploadMediaResponse upload(const std::string& model, const std::filesystem::path& file,
                                 const UploadOptions& options = {}) const;
  /// Uploads a stream, which is read to its end.
  v1::UploadMediaResponse upload(const std::string& model, std::istream& media,
                                 const UploadOptions& options = {}) const;
  /// Uploads bytes.
  v1::UploadMediaResponse upload_bytes(const std::string& model, std::string_view bytes,
                                       const UploadOptions& options = {}) const;

  /// Returns the models that can be used, in the order of their names. All pages are fetched.
  std::vector<v1::Model> list_models(const ModelOptions& options = {}) const;
  /// Returns what the gateway knows of a model.
  v1::Model get_model(const std::string& name, const ModelOptions& options = {}) const;

  /// Creates a stored conversation without turns. Without an id, the gateway makes one, and the
  /// call is not made again after UNAVAILABLE. This and the methods below need a gateway with a
  /// store.
  v1::Conversation create_conversation(const std::string& id = {},
                                       const ConversationValues& values = {},
                                       const QueryOptions& options = {}) const;
  /// Returns a stored conversation, without its turns.
  v1::Conversation get_conversation(const std::string& name,
                                    const QueryOptions& options = {}) const;
  /// Returns the stored conversations of the caller, the latest update first. All pages are
  /// fetched.
  std::vector<v1::Conversation> list_conversations(const ListOptions& options = {}) const;
  /// Changes the values of a stored conversation that are set.
  v1::Conversation update_conversation(const std::string& name, const ConversationValues& values,
                                       const QueryOptions& options = {}) const;
  /// Deletes a stored conversation with its turns and media.
  void delete_conversation(const std::string& name, const QueryOptions& options = {}) const;
  /// Returns the turns of a stored conversation, in the order of their numbers. All pages are
  /// fetched.
  std::vector<v1::Turn> list_turns(const std::string& name, const TurnOptions& options = {}) const;
  /// Deletes a turn: `conversations/{id}/turns/{number}`.
  void delete_turn(const std::string& name, const QueryOptions& options = {}) const;
  /// Copies a stored conversation up to a turn, or all of it. The id is as in create_conversation.
  v1::Conversation fork_conversation(const std::string& name,
                                     std::optional<int> last_turn = std::nullopt,
                                     const std::string& id = {},
                                     const QueryOptions& options = {}) const;
  /// Cancels the turn that is running, whatever process made it, or the one with a request id. The
  /// response has its request id; it is empty if none was running.
  v1::CancelTurnResponse cancel_turn(const std::string& name, const std::string& request_id = {},
                                     const QueryOptions& options = {}) const;

  /// Returns the first channel, for the generated classes.
  ///
  ///     auto service = dashgate::v1::ConversationService::NewStub(client.channel());
  std::shared_ptr<grpc::ChannelInterface> channel() const;
  /// Adds the client's metadata and deadline to the context of a call of the generated classes.
  void prepare(grpc::ClientContext& context) const;

 private:
  friend class ToolStream;
  struct Impl;

  // Returns an answer whose text `parse` accepts.
  Answer converse_parsed(const Conversation& conversation, const OutputSchema& schema,
                         const std::function<void(const std::string&)>& parse,
                         const OutputOptions& options) const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace dashgate

#endif  // DASHGATE_CLIENT_H_
