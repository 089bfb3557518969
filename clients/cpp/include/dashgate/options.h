// What a client and a call can be told. Everything has a default that is right without reading.
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

// Names in small letters, and their values. A call's own entry replaces the client's of that name.
using Metadata = std::multimap<std::string, std::string>;

// TLS. As it is made by itself: the server is checked against the system's roots.
struct TlsOptions {
  std::string ca_certificates;     // PEM; trusted instead of the system's roots
  std::string client_certificate;  // PEM, with its chain; needs client_key
  std::string client_key;          // PEM
  std::string server_name;         // the name to expect, if it is not the target's

  // Reads the files; an empty path leaves its field empty. Throws
  // std::filesystem::filesystem_error.
  static TlsOptions from_files(const std::filesystem::path& ca_certificates,
                               const std::filesystem::path& client_certificate = {},
                               const std::filesystem::path& client_key = {});
};

// What a Client can be told.
struct ClientOptions {
  // `host:port`, `http://host:port`, `https://host:port` or `unix:/path`. Empty: DASHGATE_ADDR, and
  // without that `127.0.0.1:50051`. `https://` means TLS with the system's roots.
  std::string target;
  // Sent as `authorization: Bearer KEY`, over plaintext too: next to a sidecar that is right.
  // Unset: DASHGATE_API_KEY. Empty: none.
  std::optional<std::string> api_key;
  // Given: TLS, whatever the target says.
  std::optional<TlsOptions> tls;
  // The deadline of a call. Unset: 10 minutes for a unary call or an upload, none for a stream.
  std::optional<std::chrono::milliseconds> timeout;
  // A stream on which nothing comes for this long, heartbeats included, fails: four heartbeats.
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(60);
  // Sent with every call.
  Metadata metadata;
};

// What one call can be told.
struct CallOptions {
  // How the model should answer. Unset fields: as the model does.
  v1::GenerationOptions generation;
  // A name for the call, done once however often it is sent. Empty: a UUID is made.
  std::string request_id;
  // The deadline of this call. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  // Sent with this call.
  Metadata metadata;
  // Cancels this call.
  CancellationToken cancellation;
};

// What an upload can be told.
struct UploadOptions {
  // For example `video/mp4`. Empty: told by the first bytes, then by the name.
  std::string mime_type;
  // The file's name, for its extension. Empty: that of the path.
  std::string name;
  // Sent as `x-request-id`. Empty: a UUID is made.
  std::string request_id;
  // The deadline of the whole upload. Unset: the client's.
  std::optional<std::chrono::milliseconds> timeout;
  // Sent with this call.
  Metadata metadata;
  // Cancels this call.
  CancellationToken cancellation;
};

}  // namespace dashgate

#endif  // DASHGATE_OPTIONS_H_
