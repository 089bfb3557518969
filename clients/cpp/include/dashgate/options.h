// Options of clients, calls and uploads. All are optional.
#ifndef DASHGATE_OPTIONS_H_
#define DASHGATE_OPTIONS_H_

#include <dashgate/cancellation.h>
#include <dashgate/v1/generation.pb.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace dashgate {

// Metadata: lower-case names and their values. An entry of a call replaces the client's of that
// name.
using Metadata = std::multimap<std::string, std::string>;

// TLS settings. By default the server's certificate is verified with the system's root
// certificates.
struct TlsOptions {
  std::string ca_certificates;     // PEM; trusted instead of the system's roots
  std::string client_certificate;  // PEM, with its chain; needs client_key
  std::string client_key;          // PEM
  std::string server_name;         // the name to verify; default: the target's host

  // Reads PEM files; an empty path leaves its field empty. Throws std::filesystem::filesystem_error
  // if a file cannot be read.
  static TlsOptions from_files(const std::filesystem::path& ca_certificates,
                               const std::filesystem::path& client_certificate = {},
                               const std::filesystem::path& client_key = {});
};

// Options of a client.
struct ClientOptions {
  // `host:port`, `http://host:port`, `https://host:port`, `dns:///host:port` or `unix:/path`.
  // Empty: DASHGATE_ADDR, then `127.0.0.1:50051`. `https://` uses TLS with the system's root
  // certificates.
  std::string target;
  // The API key, sent as `authorization: Bearer KEY`. Unset: DASHGATE_API_KEY. Empty: none. It is
  // also sent without TLS, which is safe only with a local sidecar.
  std::optional<std::string> api_key;
  // If set, TLS is used for every target.
  std::optional<TlsOptions> tls;
  // The deadline of a call. Unset: 10 minutes for a unary call or an upload, none for a stream or a
  // session.
  std::optional<std::chrono::milliseconds> timeout;
  // A stream that receives nothing for this long, not even a heartbeat, fails. Default: four
  // heartbeats.
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(60);
  // Sent with every call.
  Metadata metadata;
};

// Options of a call.
struct CallOptions {
  // The generation options. Unset fields: the model's defaults.
  v1::GenerationOptions generation;
  // The request id (idempotency key): a second call with the same id and content returns the same
  // answer and is not billed. Empty: a generated UUID.
  std::string request_id;
  // The deadline of this call. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  // Sent with this call.
  Metadata metadata;
  // Cancels this call.
  CancellationToken cancellation;
  // Whether a stream whose connection is lost continues on another one, after the last event that
  // was received. Leaving such a stream also cancels the call by its request id, for all streams
  // that have the same; if several have, set it to false.
  bool resume = true;
};

// Options of a live session.
struct SessionOptions {
  // Sent as `x-request-id` with each stream of the session. Empty: a generated UUID.
  std::string request_id;
  // The deadline of the whole session. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  // Sent with each stream of the session.
  Metadata metadata;
  // Ends the session as Session::close() does.
  CancellationToken cancellation;
};

// Options of an upload.
struct UploadOptions {
  // The MIME type, for example `video/mp4`. Empty: detected from the first bytes, then from the
  // name.
  std::string mime_type;
  // The file's name, for its extension. Empty: that of the path.
  std::string name;
  // Sent as `x-request-id`. Empty: a generated UUID.
  std::string request_id;
  // The deadline of the whole upload. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  // Sent with this call.
  Metadata metadata;
  // Cancels this upload.
  CancellationToken cancellation;
};

// Options of list_models and get_model.
struct ModelOptions {
  // How many models list_models fetches at once. 0: the gateway's page size.
  int page_size = 0;
  // Sent as `x-request-id`. Empty: a generated UUID for each page.
  std::string request_id;
  // The deadline of each page. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  // Sent with each page.
  Metadata metadata;
  // Cancels this call.
  CancellationToken cancellation;
};

}  // namespace dashgate

#endif  // DASHGATE_OPTIONS_H_
