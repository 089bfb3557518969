// How the channel to a gateway is made.
#ifndef DASHGATE_SRC_CHANNEL_H_
#define DASHGATE_SRC_CHANNEL_H_

#include <dashgate/options.h>
#include <grpcpp/channel.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dashgate::detail {

// Where a gateway is, as gRPC wants it, and what it is spoken to with.
struct Target {
  std::string address;
  std::optional<TlsOptions> tls;

  // Whether it is a socket of the file system.
  [[nodiscard]] bool is_unix() const;
  // Whether it is on this machine, where no proxy can lead.
  [[nodiscard]] bool is_loopback() const;
  // Whether it is a name whose addresses are all called.
  [[nodiscard]] bool is_spread() const;
};

// Reads a target. Throws std::invalid_argument if it cannot be one, or contradicts the TLS options.
Target read_target(const std::string& target, std::optional<TlsOptions> tls);

// Makes the channel, which connects with its first call.
std::shared_ptr<grpc::Channel> make_channel(const Target& target);

// clients/service-config.json, as it was when the library was built.
std::string_view service_config() noexcept;

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CHANNEL_H_
