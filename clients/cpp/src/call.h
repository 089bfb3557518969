// The common part of all calls: metadata, deadline, request id, cancellation.
#ifndef DASHGATE_SRC_CALL_H_
#define DASHGATE_SRC_CALL_H_

#include <dashgate/error.h>
#include <dashgate/options.h>
#include <google/protobuf/message.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <optional>
#include <string>

#include "cancellation_state.h"

namespace dashgate::detail {

// The end of a call, by the clock that gRPC uses. Unset: none.
using Deadline = std::optional<std::chrono::system_clock::time_point>;

// Returns whether it has passed. A call that has not begun then is DEADLINE_EXCEEDED: without a
// connection, it would look like one whose gateway could not be reached.
bool is_over(const Deadline& deadline);

// Returns a random UUID, version 4.
std::string make_uuid();

// Returns the request id of the caller, also if it is in the metadata of the call. Empty for none.
std::string given_id(const std::string& request_id, const Metadata& metadata);

// Returns the metadata of a call whose request has no field for the request id.
Metadata with_request_id(Metadata metadata, const std::string& request_id);

// Checks names and values, because gRPC aborts the process for some invalid ones. Throws
// std::invalid_argument, which contains no value.
void check_metadata(const Metadata& metadata);

// Adds the client's metadata to a call; entries of the call take precedence.
void add_metadata(grpc::ClientContext& context, const Metadata& of_client, const Metadata& of_call);

// Returns the time after a span, or a hundred years from now if that overflows the clock.
std::chrono::system_clock::time_point from_now(std::chrono::milliseconds span);

// Returns an error that this library creates.
Error make_error(grpc::StatusCode code, std::string message, std::string request_id);

// Returns an error of this library with a reason of the gateway.
Error make_error(grpc::StatusCode code, v1::ErrorReason reason, std::string message,
                 std::string request_id);

// Returns the errors of a call that ends in the client, as gRPC has them.
Error cancelled(std::string request_id);
Error expired(std::string request_id);

// Throws Error if the gateway could not read the message, because a text is not UTF-8, or if
// protobuf cannot serialize it, which would abort the process.
void check_request(const google::protobuf::Message& message, const std::string& request_id);

// A call that is about to start.
class Call {
 public:
  Call(const Metadata& of_client, const Metadata& of_call, const Deadline& deadline,
       const CancellationToken& cancellation);

  grpc::ClientContext& context() noexcept { return context_; }
  const grpc::ClientContext& context() const noexcept { return context_; }
  // Returns how long ago it was created.
  std::chrono::nanoseconds age() const { return std::chrono::steady_clock::now() - created_; }

 private:
  const std::chrono::steady_clock::time_point created_ = std::chrono::steady_clock::now();
  grpc::ClientContext context_;
  CancelOnRequest cancel_on_request_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CALL_H_
