// Calls whose deadline ended before the gateway was reached.
#ifndef DASHGATE_SRC_UNREACHABLE_H_
#define DASHGATE_SRC_UNREACHABLE_H_

#include <dashgate/error.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <optional>
#include <string>

#include "call.h"

namespace dashgate::detail {

// Returns the error of a call whose deadline ended before the gateway at an address was reached.
Error make_unreachable(const std::string& address, std::string request_id);

// Returns the error of a call that has ended. gRPC reports the end of a deadline also if no
// connection could be made until then: the call is UNAVAILABLE, as "deadline exceeded" would send
// the reader to look for a slow model. Its status() is still that of gRPC.
Error call_error(const grpc::Status& status, const Call& call, const std::string& request_id,
                 grpc::ChannelInterface& channel);

// Returns the error of a call that has ended without a response because this side waited no longer.
// Nothing if it had a connection.
std::optional<Error> unreachable(const Call& call, const std::string& request_id,
                                 grpc::ChannelInterface& channel);

// Whether a call has had a connection. Unknown, and true, for Unix sockets.
bool has_connected(const grpc::ClientContext& context);

// Whether an error is that of a call whose deadline ended before the gateway was reached.
bool was_late(const Error& error);

// Whether an error is that of a connection, which could not be made or broke. A deadline that ends
// before the next attempt has this error.
bool is_of_connection(const Error& error);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_UNREACHABLE_H_
