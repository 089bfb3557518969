// Converse and ConverseStream.
#include <dashgate/error.h>

#include <utility>

#include "call.h"
#include "client_impl.h"
#include "headers.h"
#include "log.h"
#include "retry.h"
#include "unreachable.h"

namespace dashgate {
namespace {

template <class Request>
Request make_request(const v1::Conversation& conversation, const CallOptions& options) {
  Request request;
  *request.mutable_conversation() = conversation;
  *request.mutable_options() = options.generation;
  if (options.expected_turn) {
    request.set_expected_turn(*options.expected_turn);
  } else if (!conversation.name().empty() && conversation.last_turn() > 0) {
    request.set_expected_turn(conversation.last_turn());
  }
  if (options.history) *request.mutable_history() = *options.history;
  // What the gateway sets; it is kept in the conversation of the caller.
  request.mutable_conversation()->clear_last_turn();
  const std::string given = detail::given_id(options.request_id, options.metadata);
  request.set_request_id(given.empty() ? detail::make_uuid() : given);
  return request;
}

}  // namespace

Answer Client::Impl::converse(const v1::Conversation& conversation, const CallOptions& options) {
  const detail::Deadline deadline = unary_deadline(options.timeout);
  const int max_retries = retries_of(options);
  auto request = make_request<v1::ConverseRequest>(conversation, options);
  upload_files(*request.mutable_conversation(), options, request.request_id(), deadline);
  detail::check_request(request, request.request_id());
  detail::CallLog call_log(log, "Converse", request.request_id());
  try {
    for (int retries = 0;; ++retries) {
      detail::Call call(metadata, options.metadata, deadline, options.cancellation);
      v1::ConverseResponse response;
      const auto lease = connect(deadline, options.cancellation, request.request_id());
      const grpc::Status status =
          lease->connection().conversations->Converse(&call.context(), request, &response);
      // A pause is not a call.
      lease->release();
      if (status.ok()) {
        call_log.succeed();
        return Answer(std::move(response), detail::read_headers(call.context()));
      }
      const Error error =
          detail::call_error(status, call, request.request_id(), *lease->connection().channel);
      const auto delay = detail::throttle_delay(error, max_retries - retries, deadline);
      if (!delay) throw Error(error);
      call_log.retry(retries + 1, *delay);
      detail::pause(*delay, options.cancellation, request.request_id());
      if (detail::is_over(deadline)) throw Error(error);
    }
  } catch (const Error& error) {
    call_log.fail(error);
    throw;
  }
}

Stream Client::Impl::stream(const v1::Conversation& conversation, const CallOptions& options) {
  detail::StreamSetup setup;
  setup.deadline = stream_deadline(options.timeout);
  setup.is_late = detail::is_over(setup.deadline);
  setup.max_retries = retries_of(options);
  setup.is_named = !detail::given_id(options.request_id, options.metadata).empty();
  setup.metadata = options.metadata;
  setup.cancellation = options.cancellation;
  detail::check_metadata(options.metadata);
  auto request = make_request<v1::ConverseStreamRequest>(conversation, options);
  request.set_resumable(options.resume);
  upload_files(*request.mutable_conversation(), options, request.request_id(), setup.deadline);
  detail::check_request(request, request.request_id());
  setup.request = std::move(request);
  return Stream(std::make_shared<detail::StreamState>(stream_client(), std::move(setup)));
}

}  // namespace dashgate
