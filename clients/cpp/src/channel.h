// Creates the channel to a gateway.
#ifndef DASHGATE_SRC_CHANNEL_H_
#define DASHGATE_SRC_CHANNEL_H_

#include <dashgate/options.h>
#include <grpcpp/channel.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dashgate::detail {

// The target in gRPC's syntax, and its TLS settings.
struct Target {
  std::string address;
  std::optional<TlsOptions> tls;

  // Returns whether it is a Unix socket.
  [[nodiscard]] bool is_unix() const;
  // Returns whether it is on this machine, where no proxy is used.
  [[nodiscard]] bool is_loopback() const;
  // Returns whether it is a name whose addresses are balanced over.
  [[nodiscard]] bool is_spread() const;
};

// Parses a target. Throws std::invalid_argument if it is invalid or contradicts the TLS options.
Target read_target(const std::string& target, std::optional<TlsOptions> tls);

// What a program changes of its channels.
struct ChannelSetup {
  decltype(ClientOptions::interceptors) interceptors;
  decltype(ClientOptions::channel_arguments) arguments;
};

// Creates a channel, which connects with its first call.
std::shared_ptr<grpc::Channel> make_channel(const Target& target, const ChannelSetup& setup);

// Returns the content of clients/service-config.json at build time.
std::string_view service_config() noexcept;

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CHANNEL_H_
