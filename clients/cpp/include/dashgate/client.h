// The client.
#ifndef DASHGATE_CLIENT_H_
#define DASHGATE_CLIENT_H_

#include <dashgate/answer.h>
#include <dashgate/conversation.h>
#include <dashgate/live.h>
#include <dashgate/options.h>
#include <dashgate/stream.h>
#include <dashgate/tool.h>
#include <dashgate/v1/media_service.pb.h>
#include <dashgate/v1/model.pb.h>

#include <filesystem>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grpc {
class ChannelInterface;
class ClientContext;
}  // namespace grpc

namespace dashgate {

// Returns the version of this library, as in its user agent.
std::string_view version() noexcept;

// A client of a dashgate gateway. It is thread-safe, connects with the first call, and must outlive
// its calls, except for streams and sessions. A failed call throws Error.
//
//   dashgate::Client client;
//   std::cout << client.converse(conversation).text();
class Client {
 public:
  // Throws std::invalid_argument if an option is invalid.
  explicit Client(ClientOptions options = {});
  // Uses an existing channel. Target, TLS, message sizes, keepalive and retries are those of the
  // channel, so `target` and `tls` must not be set.
  explicit Client(std::shared_ptr<grpc::ChannelInterface> channel, ClientOptions options = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  // Waits, for at most 2 seconds, until the gateway has ended the calls whose streams were left.
  ~Client();

  // Returns the next answer when complete. The default deadline is 10 minutes.
  Answer converse(const Conversation& conversation, const CallOptions& options = {}) const;

  // Returns the next answer as a stream. There is no deadline by default.
  Stream stream(const Conversation& conversation, const CallOptions& options = {}) const;

  // Cancels a running call of this caller by its request id, whatever process made it. Its streams
  // fail with ABORTED and the reason CALL_CANCELLED. If no such call is running, throws Error with
  // the reason CALL_NOT_FOUND. Generation options and request id are not used.
  void cancel_call(const std::string& request_id, const CallOptions& options = {}) const;

  // Opens a conversation by voice. Errors of the gateway are thrown when it is read. The text is
  // the model.
  LiveSession live(const v1::LiveSetup& setup, const SessionOptions& options = {}) const;
  LiveSession live(const std::string& model, const SessionOptions& options = {}) const;

  // Opens a session that speaks a text while it is written.
  SpeechSession speak(const v1::SynthesisSetup& setup, const SessionOptions& options = {}) const;
  SpeechSession speak(const std::string& model, const SessionOptions& options = {}) const;

  // Runs the tools that the model calls until it returns an answer without tool calls, which is
  // returned. All messages are appended to the conversation. If the model calls tools in more than
  // `max_rounds` rounds, throws Error with FAILED_PRECONDITION and raw_reason TOOL_ROUNDS. The
  // options apply to each call; a request_id gets `-2`, `-3`, ... from the second call on.
  Answer run_tools(Conversation& conversation, const std::vector<Tool>& tools, int max_rounds = 8,
                   const CallOptions& options = {}) const;

  // Uploads a file to DashScope's storage, in chunks. Pass the returned `uri` to audio(), image()
  // or video().
  v1::UploadMediaResponse upload(const std::string& model, const std::filesystem::path& file,
                                 const UploadOptions& options = {}) const;
  // Uploads a stream, which is read to its end.
  v1::UploadMediaResponse upload(const std::string& model, std::istream& media,
                                 const UploadOptions& options = {}) const;
  // Uploads bytes.
  v1::UploadMediaResponse upload_bytes(const std::string& model, std::string_view bytes,
                                       const UploadOptions& options = {}) const;

  // Returns the models that can be used, in the order of their names. All pages are fetched.
  std::vector<v1::Model> list_models(const ModelOptions& options = {}) const;
  // Returns what the gateway knows of a model.
  v1::Model get_model(const std::string& name, const ModelOptions& options = {}) const;

  // The channel, and the preparation of a context, for the generated classes.
  //
  //   auto service = dashgate::v1::ConversationService::NewStub(client.channel());
  std::shared_ptr<grpc::ChannelInterface> channel() const;
  void prepare(grpc::ClientContext& context) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dashgate

#endif  // DASHGATE_CLIENT_H_
