// The metadata of a response.
#ifndef DASHGATE_SRC_HEADERS_H_
#define DASHGATE_SRC_HEADERS_H_

#include <dashgate/metadata.h>
#include <grpcpp/client_context.h>

#include <string_view>

namespace dashgate::detail {

// Returns the initial metadata of a call, which must have been received, without binary ones. gRPC
// keeps the trailers as they are when they are read first, so these are left out before the end.
Metadata read_initial(const grpc::ClientContext& context);

// Returns the initial metadata and the trailers of a call that has ended, without binary ones.
Metadata read_headers(const grpc::ClientContext& context);

// Returns whether metadata of this name has bytes instead of text.
bool is_binary(std::string_view name);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_HEADERS_H_
