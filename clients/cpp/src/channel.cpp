#include "channel.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include "data_uri.h"
#include "files.h"
#include "service_config.h"

namespace dashgate {
namespace {

// Also of a pipe, because a shell passes the output of a command as one.
std::string read_pem(const std::filesystem::path& path) {
  if (path.empty()) return {};
  detail::check_path(path);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string pem = file ? detail::read_all(file) : std::string();
  if (!file.eof() || file.bad()) detail::throw_unreadable(path, errno);
  return pem;
}

}  // namespace

TlsOptions TlsOptions::from_files(const std::filesystem::path& ca_certificates,
                                  const std::filesystem::path& client_certificate,
                                  const std::filesystem::path& client_key) {
  TlsOptions tls;
  tls.ca_certificates = read_pem(ca_certificates);
  tls.client_certificate = read_pem(client_certificate);
  tls.client_key = read_pem(client_key);
  return tls;
}

namespace detail {
namespace {

// The largest response of the gateway. Requests are kept for retries up to the same size.
constexpr int kMessageBytes = 64 * 1024 * 1024;
// gRPC's default of 8 KiB is too small for the details of an error with a hundred fields.
constexpr int kMetadataBytes = 64 * 1024;
// The strictest servers allow one ping in 5 minutes.
constexpr std::chrono::milliseconds kKeepaliveTime = std::chrono::minutes(6);
constexpr std::chrono::milliseconds kKeepaliveTimeout = std::chrono::seconds(20);
// The default port of the gateway, and of HTTPS.
constexpr const char* kPort = "50051";
constexpr const char* kTlsPort = "443";
constexpr int kFirstReconnectDelayMs = 500;
constexpr int kLongestReconnectDelayMs = 5000;

// Returns the text after the prefix, if it begins with the prefix.
std::optional<std::string_view> behind(std::string_view text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return std::nullopt;
  return text.substr(prefix.size());
}

// Returns the text after a scheme, whose letters may have any case.
std::optional<std::string_view> behind_scheme(std::string_view text, std::string_view scheme) {
  if (!has_scheme(text, scheme)) return std::nullopt;
  return text.substr(scheme.size());
}

[[noreturn]] void refuse(const std::string& target, const std::string& why) {
  // A password must not be in an error.
  if (target.find('@') != std::string::npos && !behind(target, "unix:")) {
    throw std::invalid_argument("dashgate: the target holds a name or password; use api_key");
  }
  throw std::invalid_argument(
      "dashgate: target `" + target + "` " + why +
      "; it is host:port, http://host:port, https://host:port, dns:///host:port or unix:/path");
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port <= 65535;
}

// Returns the authority of a URL, with the port if it has none.
std::string read_authority(const std::string& target, std::string_view rest, const char* port) {
  if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  if (rest.empty()) refuse(target, "names no host");
  // Spaces and control characters.
  if (std::any_of(rest.begin(), rest.end(),
                  [](char letter) { return letter >= 0 && letter <= ' '; })) {
    refuse(target, "has a space");
  }
  if (rest.find_first_of("/?#") != std::string_view::npos) refuse(target, "has a path");
  if (rest.find('@') != std::string_view::npos) refuse(target, "has a name");
  const std::size_t after_host = rest.front() == '[' ? rest.find(']') : 0;
  if (after_host == std::string_view::npos) refuse(target, "has a bracket that is not closed");
  const std::size_t colon = rest.find(':', after_host);
  if (colon == std::string_view::npos) return std::string(rest) + ":" + port;
  if (colon != rest.rfind(':')) refuse(target, "has an IPv6 address without brackets");
  if (!is_port(rest.substr(colon + 1))) refuse(target, "names no valid port");
  return std::string(rest);
}

// Parses a target that gRPC would take for a list of addresses.
std::string read_one(const std::string& target, std::string_view rest) {
  if (rest.find_first_of(",/") != std::string_view::npos) {
    refuse(target, "is not one address; for many write dns:///host:port");
  }
  return read_authority(target, rest, kPort);
}

// gRPC reports invalid PEM only in its log, and then finds no address to connect to.
void check_tls(const TlsOptions& tls) {
  const auto check = [](const char* field, const std::string& pem, const char* label) {
    if (pem.empty() || pem.find(label) != std::string::npos) return;
    throw std::invalid_argument(std::string("dashgate: tls.") + field + " is not PEM: it has no `" +
                                label + "`");
  };
  check("ca_certificates", tls.ca_certificates, "CERTIFICATE-----");
  check("client_certificate", tls.client_certificate, "CERTIFICATE-----");
  check("client_key", tls.client_key, "PRIVATE KEY-----");
  if (tls.client_certificate.empty() != tls.client_key.empty()) {
    throw std::invalid_argument(
        "dashgate: tls.client_certificate and tls.client_key need each other");
  }
}

std::shared_ptr<grpc::ChannelCredentials> credentials(const std::optional<TlsOptions>& tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls->ca_certificates;
  options.pem_cert_chain = tls->client_certificate;
  options.pem_private_key = tls->client_key;
  return grpc::SslCredentials(options);
}

// Changes the shared service config for a target.
std::string config_of(const Target& target) {
  std::string config(service_config());
  if (target.is_spread()) {
    config.replace(config.find('{'), 1, R"({ "loadBalancingConfig": [{ "round_robin": {} }],)");
  }
  // A second attempt would make a second conversation, unless the caller chose its id. That is seen
  // only by the methods themselves, which then retry.
  constexpr std::string_view kList = R"("methodConfig": [)";
  config.insert(config.find(kList) + kList.size(), R"({"name": [
    {"service": "dashgate.v1.ConversationService", "method": "CreateConversation"},
    {"service": "dashgate.v1.ConversationService", "method": "ForkConversation"}]},)");
  return config;
}

void add_defaults(grpc::ChannelArguments& arguments, const Target& target) {
  arguments.SetUserAgentPrefix("dashgate-cpp/" DASHGATE_CLIENT_VERSION);
  arguments.SetMaxReceiveMessageSize(kMessageBytes);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(kKeepaliveTime.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(kKeepaliveTimeout.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  // Otherwise the third ping without data would be delayed.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // After an outage, all clients connect within a few seconds.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectDelayMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestReconnectDelayMs);
  // Otherwise channels to the same address share a connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 1);
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kMessageBytes);
  arguments.SetServiceConfigJSON(config_of(target));
  // A remote proxy cannot reach this machine.
  if (target.is_loopback()) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A service config of DNS must not replace this one.
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  if (target.tls && !target.tls->server_name.empty()) {
    arguments.SetSslTargetNameOverride(target.tls->server_name);
  } else if (target.is_unix()) {
    // gRPC would send the path as the authority, where a percent sign is not allowed.
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  }
}

// Gives a channel an interceptor of a factory that several channels share.
class SharedFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit SharedFactory(std::shared_ptr<ClientInterceptorFactoryInterface> shared)
      : shared_(std::move(shared)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* info) override {
    return shared_->CreateClientInterceptor(info);
  }

 private:
  std::shared_ptr<ClientInterceptorFactoryInterface> shared_;
};

}  // namespace

Target read_target(const std::string& target, std::optional<TlsOptions> tls) {
  if (tls) check_tls(*tls);
  if (const auto rest = behind_scheme(target, "http://")) {
    if (tls) refuse(target, "is plaintext, and TLS options are given");
    return {read_authority(target, *rest, kPort), std::nullopt};
  }
  if (const auto rest = behind_scheme(target, "https://")) {
    if (!tls) tls.emplace();
    return {read_authority(target, *rest, kTlsPort), std::move(tls)};
  }
  if (const auto rest = behind(target, "dns:")) {
    const auto name = behind(*rest, "///");
    return {"dns:///" + read_one(target, name ? *name : *rest), std::move(tls)};
  }
  for (const char* family : {"ipv4:", "ipv6:"}) {
    if (const auto rest = behind(target, family)) {
      return {read_one(target, *rest), std::move(tls)};
    }
  }
  if (target.empty()) refuse(target, "is empty");
  if (const auto path = behind(target, "unix:")) {
    // What follows two slashes is an authority, which there is none of.
    const auto authority = behind(*path, "//");
    if (path->empty() || (authority && !behind(*authority, "/"))) refuse(target, "names no path");
    return {target, std::move(tls)};
  }
  if (target.find("://") != std::string::npos) {
    refuse(target, "has a scheme that is not known here");
  }
  return {read_one(target, target), std::move(tls)};
}

bool Target::is_unix() const { return behind(address, "unix:").has_value(); }

bool Target::is_spread() const { return behind(address, "dns:").has_value(); }

bool Target::is_loopback() const {
  if (is_unix()) return true;
  const std::string_view whole = address;
  const std::string_view place = behind(whole, "dns:///").value_or(whole);
  std::string host(place.substr(0, place.rfind(':')));
  std::transform(host.begin(), host.end(), host.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  constexpr std::string_view kBelow = ".localhost";
  const bool below = host.size() > kBelow.size() &&
                     host.compare(host.size() - kBelow.size(), kBelow.size(), kBelow) == 0;
  // Four numbers, the first of which is 127.
  const bool numbers = host.find_first_not_of("0123456789.") == std::string::npos;
  return host == "localhost" || below || host == "[::1]" ||
         (numbers && behind(host, "127.").has_value());
}

std::shared_ptr<grpc::Channel> make_channel(const Target& target, const ChannelSetup& setup) {
  grpc::ChannelArguments arguments;
  // Of two values of an option, gRPC uses the first.
  if (setup.arguments) setup.arguments(arguments);
  add_defaults(arguments, target);
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> factories;
  for (const auto& factory : setup.interceptors) {
    factories.push_back(std::make_unique<SharedFactory>(factory));
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      target.address, credentials(target.tls), arguments, std::move(factories));
}

std::string_view service_config() noexcept { return kServiceConfig; }

}  // namespace detail
}  // namespace dashgate
