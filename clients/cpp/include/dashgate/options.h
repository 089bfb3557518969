// Options of clients, calls and uploads. All are optional.
#ifndef DASHGATE_OPTIONS_H_
#define DASHGATE_OPTIONS_H_

#include <dashgate/cancellation.h>
#include <dashgate/metadata.h>
#include <dashgate/v1/generation.pb.h>
#include <dashgate/v1/stored_turn.pb.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grpc {
class ChannelArguments;
namespace experimental {
class ClientInterceptorFactoryInterface;
}  // namespace experimental
}  // namespace grpc

namespace dashgate {

/// TLS settings. By default the server's certificate is verified with the system's root
/// certificates.
struct TlsOptions {
  std::string ca_certificates;     ///< PEM; trusted instead of the system's roots
  std::string client_certificate;  ///< PEM, with its chain; needs client_key
  std::string client_key;          ///< PEM
  std::string server_name;         ///< the name to verify; default: the target's host

  /// Reads PEM files; an empty path leaves its field empty. Throws
  /// std::filesystem::filesystem_error if a file cannot be read.
  static TlsOptions from_files(const std::filesystem::path& ca_certificates,
                               const std::filesystem::path& client_certificate = {},
                               const std::filesystem::path& client_key = {});
};

/// Options of a client.
struct ClientOptions {
  /// `host:port`, `http://host:port`, `https://host:port`, `dns:///host:port` or `unix:/path`.
  /// Without a port, it is 50051, or 443 with `https://`. Empty: DASHGATE_ADDR, then
  /// `127.0.0.1:50051`. `https://` uses TLS with the system's root certificates.
  std::string target;
  /// The API key, sent as `authorization: Bearer KEY`. Unset: DASHGATE_API_KEY. Empty: none. It is
  /// also sent without TLS, which is safe only with a local sidecar.
  std::optional<std::string> api_key;
  /// If set, TLS is used for every target.
  std::optional<TlsOptions> tls;
  /// The deadline of a call. Unset: 10 minutes for a unary call or an upload, none for a stream or
  /// a session.
  std::optional<std::chrono::milliseconds> timeout;
  /// A stream that receives nothing for this long, not even a heartbeat, fails. Default: four
  /// heartbeats.
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(60);
  /// Sent with every call.
  Metadata metadata;
  /// How often a call that was throttled is made again: one that failed with RESOURCE_EXHAUSTED and
  /// a time to wait (Error::retry_after), before any event. It is made again with the same request
  /// id after that time, if its deadline is later.
  int max_retries = 0;
  /// Interceptors of the gRPC library, which run around each call, the first one outermost. They
  /// see the metadata of the client.
  std::vector<std::shared_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  /// Sets options of the gRPC library, for each connection. They replace single options of this
  /// library, and are added to the others.
  std::function<void(grpc::ChannelArguments&)> channel_arguments;
};

/// Options of a call.
struct CallOptions {
  /// The generation options. Unset fields: the model's defaults.
  v1::GenerationOptions generation;
  /// The request id (idempotency key): a second call with the same id and content returns the same
  /// answer and is not billed. Empty: a generated UUID.
  std::string request_id;
  /// The deadline of this call. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  /// Sent with this call.
  Metadata metadata;
  /// Cancels this call.
  CancellationToken cancellation;
  /// Whether a stream whose connection is lost continues on another one, after the last event that
  /// was received. Leaving such a stream also cancels the call by its request id, for all streams
  /// that have the same; if several have, set it to false.
  bool resume = true;
  /// As in ClientOptions. Unset: the client's.
  std::optional<int> max_retries;
  /// Of a stored conversation: the number of its latest turn that this process knows. If there is a
  /// later one, the call fails with ABORTED and the reason STALE_CONVERSATION. Unset: the
  /// conversation's last_turn, if it has one.
  std::optional<int> expected_turn;
  /// Of a stored conversation: which part of its history is sent to the model. Unset: the gateway's
  /// default.
  std::optional<v1::HistoryPolicy> history;
};

/// Options of run_tools and stream_tools, and of each of their calls.
struct ToolOptions : CallOptions {
  /// After how many rounds the functions that the model calls are no longer run.
  int max_rounds = 8;
  /// Whether the functions of a round run at the same time, at most 16 of them, in threads of their
  /// own. Their results keep the order of the calls.
  bool parallel = false;
};

/// Options of converse_as, and of its calls.
struct OutputOptions : CallOptions {
  /// Whether the model is shown the error of an answer that cannot be parsed, once, and answers
  /// again.
  bool repair = false;
};

/// Options of a live session.
struct SessionOptions {
  /// Sent as `x-request-id` with each stream of the session. Empty: a generated UUID.
  std::string request_id;
  /// The deadline of the whole session. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  /// Sent with each stream of the session.
  Metadata metadata;
  /// Ends the session as Session::close() does.
  CancellationToken cancellation;
};

/// Options of an upload.
struct UploadOptions {
  /// The MIME type, for example `video/mp4`. Empty: detected from the first bytes, then from the
  /// name.
  std::string mime_type;
  /// The file's name, for its extension. Empty: that of the path.
  std::string name;
  /// Sent as `x-request-id`. Empty: a generated UUID.
  std::string request_id;
  /// The deadline of the whole upload. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  /// Sent with this call.
  Metadata metadata;
  /// Cancels this upload.
  CancellationToken cancellation;
};

/// Options of the calls that manage stored conversations.
struct QueryOptions {
  /// Sent as `x-request-id`. Empty: a generated UUID for each call.
  std::string request_id;
  /// The deadline of each call. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  /// Sent with each call.
  Metadata metadata;
  /// Cancels the call.
  CancellationToken cancellation;
};

/// Options of list_models, get_model and list_conversations.
struct ListOptions : QueryOptions {
  /// How many items of a list are fetched at once. 0: the gateway's page size.
  int page_size = 0;
};

/// Options of list_models and get_model.
using ModelOptions = ListOptions;

/// Options of list_turns.
struct TurnOptions : ListOptions {
  /// Whether the list begins with the latest turn.
  bool newest_first = false;
  /// Whether media that were sent as bytes are returned as bytes. Otherwise they have a type only.
  bool include_media = false;
};

/// Labels of a stored conversation, which the gateway does not interpret.
using Labels = std::map<std::string, std::string>;

/// The values of a stored conversation that a program chooses. What is unset is the gateway's
/// default, or is not changed.
struct ConversationValues {
  /// The model of turns that name none.
  std::optional<std::string> model;
  /// Labels; they replace all earlier ones.
  std::optional<Labels> labels;
  /// How long it is kept after its latest turn or update.
  std::optional<std::chrono::seconds> ttl;
};

}  // namespace dashgate

#endif  // DASHGATE_OPTIONS_H_
