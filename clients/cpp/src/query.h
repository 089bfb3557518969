// Unary calls whose request has no field for the request id.
#ifndef DASHGATE_SRC_QUERY_H_
#define DASHGATE_SRC_QUERY_H_

#include <dashgate/error.h>
#include <dashgate/options.h>

#include <string>

#include "call.h"
#include "connection_pool.h"
#include "log.h"
#include "retry.h"
#include "unreachable.h"

namespace dashgate::detail {

// Makes a call; the request id is in its metadata. `send` gets the connection, the context and the
// response, and returns the status. With `is_retried` it is made again after UNAVAILABLE, as gRPC
// does for other calls.
template <class Response, class Impl, class Send>
Response query(Impl& client, const QueryOptions& options, const Deadline& deadline,
               const char* method, const Send& send, bool is_retried = false) {
  const std::string given = given_id(options.request_id, options.metadata);
  const std::string request_id = given.empty() ? make_uuid() : given;
  const Metadata metadata = with_request_id(options.metadata, request_id);
  CallLog log(client.log, method, request_id);
  try {
    for (int attempt = 1;; ++attempt) {
      Call call(client.metadata, metadata, deadline, options.cancellation);
      Response response;
      const auto lease = client.connect(deadline, options.cancellation, request_id);
      const grpc::Status status = send(lease->connection(), call.context(), response);
      lease->release();
      if (status.ok()) {
        log.succeed();
        return response;
      }
      const Error error = call_error(status, call, request_id, *lease->connection().channel);
      const auto delay = is_retried ? unavailable_delay(error, attempt, deadline) : std::nullopt;
      if (!delay) throw Error(error);
      log.retry(attempt, *delay);
      pause(*delay, options.cancellation, request_id);
      if (is_over(deadline)) throw Error(error);
    }
  } catch (const Error& error) {
    log.fail(error);
    throw;
  }
}

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_QUERY_H_
