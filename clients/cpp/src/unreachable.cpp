#include "unreachable.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>

namespace dashgate::detail {
namespace {

bool begins_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// Whether a peer is that of a connection. The addresses of these sockets are no usual targets.
bool is_socket(std::string_view peer) {
  constexpr std::array<std::string_view, 4> kSockets{"ipv4:", "ipv6:", "vsock:", "inproc"};
  return std::any_of(kSockets.begin(), kSockets.end(),
                     [&](std::string_view prefix) { return begins_with(peer, prefix); });
}

// A call that is older has been given a connection, or has made its channel connect.
constexpr std::chrono::milliseconds kTimeToBegin(100);

// Whether the latest attempt of a call had a connection when this side ended it. gRPC forgets that,
// except in the peer, which it mostly forgets too.
bool was_reached(const Call& call, std::string_view peer, grpc::ChannelInterface& channel) {
  switch (channel.GetState(false)) {
    case GRPC_CHANNEL_TRANSIENT_FAILURE:
      return false;
    case GRPC_CHANNEL_CONNECTING:
      return is_socket(peer);
    case GRPC_CHANNEL_IDLE:
      // The call may be the last one of a connection that takes no more: the gateway shuts down.
      return is_socket(peer) || call.age() > kTimeToBegin;
    default:
      return true;
  }
}

// Adds the target to the error of a connection that could not be made: gRPC has the addresses of a
// name only. The peer is the target then.
Error with_target(Error failed, const std::string& peer) {
  // A scheme is not in the message of a name that does not resolve.
  const std::size_t scheme = begins_with(peer, "dns:///") ? std::string_view("dns:///").size() : 0;
  if (is_socket(peer) || failed.message().find(peer.substr(scheme)) != std::string::npos) {
    return failed;
  }
  Error::Fields fields = failed.fields();
  fields.message = peer + ": " + fields.message;
  return Error(std::move(fields));
}

}  // namespace

Error make_unreachable(const std::string& address, std::string request_id) {
  Error::Fields fields =
      make_error(grpc::StatusCode::UNAVAILABLE, address + ": no connection could be made in time",
                 std::move(request_id))
          .fields();
  fields.retryable = true;
  return Error(std::move(fields));
}

std::optional<Error> unreachable(const Call& call, const std::string& request_id,
                                 grpc::ChannelInterface& channel) {
  const std::string peer = call.context().peer();
  if (was_reached(call, peer, channel)) return std::nullopt;
  return make_unreachable(peer, request_id);
}

Error call_error(const grpc::Status& status, const Call& call, const std::string& request_id,
                 grpc::ChannelInterface& channel) {
  Error failed = Error::from_status(status, call.context(), request_id);
  if (is_of_connection(failed) && failed.headers().empty()) {
    return with_target(std::move(failed), call.context().peer());
  }
  // The reason of a gateway is in the details.
  const bool is_of_grpc = failed.reason() == v1::DEADLINE_EXCEEDED &&
                          status.error_details().empty() && failed.headers().empty();
  if (!is_of_grpc) return failed;
  const std::optional<Error> other = unreachable(call, request_id, channel);
  if (!other) return failed;
  Error::Fields fields = other->fields();
  fields.status = status;
  return Error(std::move(fields));
}

bool is_of_connection(const Error& error) {
  return error.code() == grpc::StatusCode::UNAVAILABLE && error.raw_reason().empty();
}

bool has_connected(const grpc::ClientContext& context) {
  const std::string peer = context.peer();
  return is_socket(peer) || begins_with(peer, "unix");
}

bool was_late(const Error& error) {
  return error.code() == grpc::StatusCode::UNAVAILABLE &&
         error.status().error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

}  // namespace dashgate::detail
