#include <dashgate/client.h>
#include <dashgate/error.h>

#include <stdexcept>
#include <utility>

#include "call.h"
#include "client_impl.h"
#include "unreachable.h"

namespace dashgate {

std::string_view version() noexcept { return DASHGATE_CLIENT_VERSION; }

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(options, nullptr)) {}

Client::Client(std::shared_ptr<grpc::ChannelInterface> channel, ClientOptions options) {
  if (channel == nullptr) throw std::invalid_argument("dashgate: the channel is a null pointer");
  impl_ = std::make_unique<Impl>(options, std::move(channel));
}

Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Answer Client::converse(const Conversation& conversation, const CallOptions& options) const {
  return impl_->converse(conversation.raw(), options);
}

Stream Client::stream(const Conversation& conversation, const CallOptions& options) const {
  return impl_->stream(conversation.raw(), options);
}

void Client::cancel_call(const std::string& request_id, const CallOptions& options) const {
  v1::CancelCallRequest request;
  request.set_request_id(request_id);
  detail::CallLog log(impl_->log, "CancelCall", request_id);
  const detail::Deadline deadline = impl_->unary_deadline(options.timeout);
  detail::Call call(impl_->metadata, options.metadata, deadline, options.cancellation);
  if (detail::is_over(deadline)) {
    const Error error = options.cancellation.is_cancelled() ? detail::cancelled(request_id)
                                                            : detail::expired(request_id);
    log.fail(error);
    throw Error(error);
  }
  v1::CancelCallResponse response;
  const detail::ConnectionLease lease = impl_->connect_for_cancellation();
  const grpc::Status status =
      lease.connection().call_service->CancelCall(&call.context(), request, &response);
  if (status.ok()) return log.succeed();
  const Error error = detail::call_error(status, call, request_id, *lease.connection().channel);
  log.fail(error);
  throw Error(error);
}

std::shared_ptr<grpc::ChannelInterface> Client::channel() const { return impl_->channel(); }

void Client::prepare(grpc::ClientContext& context) const {
  detail::add_metadata(context, impl_->metadata, {});
  if (const auto deadline = impl_->stream_deadline(std::nullopt)) context.set_deadline(*deadline);
}

}  // namespace dashgate
