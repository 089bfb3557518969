#include "unreachable.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "call.h"

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

// Whether the latest attempt of a call had a connection. The peer is the target of the channel
// until then, but also that of an earlier attempt, whose connection broke.
bool was_reached(std::string_view peer, grpc::ChannelInterface& channel) {
  const grpc_connectivity_state state = channel.GetState(false);
  if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) return false;
  if (is_socket(peer)) return true;
  if (state == GRPC_CHANNEL_CONNECTING) return false;
  // The peer of a Unix socket looks like its target. The call may be the last one of a connection
  // that takes no more.
  return state != GRPC_CHANNEL_IDLE || begins_with(peer, "unix");
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

std::optional<Error> unreachable(const grpc::ClientContext& context, const std::string& request_id,
                                 grpc::ChannelInterface& channel) {
  const std::string peer = context.peer();
  if (was_reached(peer, channel)) return std::nullopt;
  Error::Fields fields = make_error(grpc::StatusCode::UNAVAILABLE,
                                    peer + ": no connection could be made in time", request_id)
                             .fields();
  fields.retryable = true;
  return Error(std::move(fields));
}

Error call_error(const grpc::Status& status, const grpc::ClientContext& context,
                 const std::string& request_id, grpc::ChannelInterface& channel) {
  Error failed = Error::from_status(status, context, request_id);
  if (is_of_connection(failed) && failed.headers().empty()) {
    return with_target(std::move(failed), context.peer());
  }
  // The reason of a gateway is in the details.
  const bool is_of_grpc = failed.reason() == v1::DEADLINE_EXCEEDED &&
                          status.error_details().empty() && failed.headers().empty();
  if (!is_of_grpc) return failed;
  const std::optional<Error> other = unreachable(context, request_id, channel);
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
