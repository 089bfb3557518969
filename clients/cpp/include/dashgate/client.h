// The client: every call begins here.
#ifndef DASHGATE_CLIENT_H_
#define DASHGATE_CLIENT_H_

#include <dashgate/answer.h>
#include <dashgate/conversation.h>
#include <dashgate/options.h>
#include <dashgate/stream.h>
#include <dashgate/tool.h>
#include <dashgate/v1/media_service.pb.h>

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

// The version of this library, as in its user agent.
std::string_view version() noexcept;

// A gateway, as a program sees it. Any number of threads may use one at once. It connects with the
// first call and disconnects when it goes away, which must not be before its calls end; a stream
// may outlive it. A call that fails throws Error.
//
//   dashgate::Client client;
//   std::cout << client.converse(conversation).text();
class Client {
 public:
  // Throws std::invalid_argument for options that cannot be.
  explicit Client(ClientOptions options = {});
  // Uses a channel that exists. Its owner has chosen target, TLS, sizes, keepalive and retries, so
  // `target` and `tls` must not be given.
  explicit Client(std::shared_ptr<grpc::ChannelInterface> channel, ClientOptions options = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  // Returns the next answer as a whole.
  Answer converse(const Conversation& conversation, const CallOptions& options = {}) const;

  // Returns the next answer as a stream.
  Stream stream(const Conversation& conversation, const CallOptions& options = {}) const;

  // Declares the tools, asks, calls what the model wants, and asks again, until the model wants
  // nothing more; then gives the last answer. The conversation grows by all of it. A model that
  // still wants something after `max_rounds` answers whose calls were carried out is a failure:
  // FAILED_PRECONDITION, raw_reason TOOL_ROUNDS. The options are those of each call; a request_id
  // gets
  // `-2`, `-3`, ... from the second call on.
  Answer run_tools(Conversation& conversation, const std::vector<Tool>& tools, int max_rounds = 8,
                   const CallOptions& options = {}) const;

  // Puts a file where the model can reach it; the `uri` that comes back goes into a content part.
  // It is read in chunks, never whole.
  v1::UploadMediaResponse upload(const std::string& model, const std::filesystem::path& file,
                                 const UploadOptions& options = {}) const;
  // The same from a stream, read to its end.
  v1::UploadMediaResponse upload(const std::string& model, std::istream& media,
                                 const UploadOptions& options = {}) const;
  // The same from bytes.
  v1::UploadMediaResponse upload_bytes(const std::string& model, std::string_view bytes,
                                       const UploadOptions& options = {}) const;

  // For the generated classes: their channel, and what this client sends with each call.
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
