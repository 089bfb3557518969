// What every call has: metadata, a deadline, a name, a way to cancel it.
#ifndef DASHGATE_SRC_CALL_H_
#define DASHGATE_SRC_CALL_H_

#include <dashgate/options.h>
#include <google/protobuf/message_lite.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <optional>
#include <string>

#include "cancellation_state.h"

namespace dashgate::detail {

// The default deadline of a unary call.
constexpr std::chrono::milliseconds kUnaryTimeout = std::chrono::minutes(10);

// A random UUID, version 4.
std::string make_uuid();

// Checks names and values, because gRPC ends the process over some that cannot be sent. Throws
// std::invalid_argument, which shows no value.
void check_metadata(const Metadata& metadata);

// Adds the client's entries to the call, and the call's own in their place.
void add_metadata(grpc::ClientContext& context, const Metadata& of_client, const Metadata& of_call);

// So far from now, or a hundred years if that is beyond the clock's end.
std::chrono::system_clock::time_point from_now(std::chrono::milliseconds span);

// A message that protobuf cannot write would end the process.
void check_size(const google::protobuf::MessageLite& message, const std::string& request_id);

// A call that is about to be made.
class Call {
 public:
  Call(const Metadata& of_client, const Metadata& of_call,
       std::optional<std::chrono::milliseconds> timeout, const CancellationToken& cancellation);

  grpc::ClientContext& context() noexcept { return context_; }

 private:
  grpc::ClientContext context_;
  CancelOnRequest cancel_on_request_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CALL_H_
