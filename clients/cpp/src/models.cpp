#include <dashgate/client.h>
#include <dashgate/error.h>

#include <iterator>
#include <utility>

#include "call.h"
#include "client_impl.h"

namespace dashgate {
namespace {

// Makes a unary call whose request has no field for the request id.
template <class Response, class Impl, class Send>
Response query(const Impl& client, const ModelOptions& options, const Send& send) {
  const std::string given = detail::given_id(options.request_id, options.metadata);
  const std::string request_id = given.empty() ? detail::make_uuid() : given;
  Metadata metadata = options.metadata;
  metadata.erase("x-request-id");
  metadata.emplace("x-request-id", request_id);
  detail::Call call(
      client.metadata, metadata,
      options.timeout ? options.timeout : client.timeout.value_or(detail::kUnaryTimeout),
      options.cancellation);
  Response response;
  const grpc::Status status = send(call.context(), response);
  if (!status.ok()) throw Error::from_status(status, call.context(), request_id);
  return response;
}

}  // namespace

std::vector<v1::Model> Client::list_models(const ModelOptions& options) const {
  std::vector<v1::Model> models;
  v1::ListModelsRequest request;
  request.set_page_size(options.page_size);
  do {
    auto page = query<v1::ListModelsResponse>(
        *impl_, options, [&](grpc::ClientContext& context, v1::ListModelsResponse& response) {
          return impl_->connection()->models->ListModels(&context, request, &response);
        });
    models.insert(models.end(), std::make_move_iterator(page.mutable_models()->begin()),
                  std::make_move_iterator(page.mutable_models()->end()));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return models;
}

v1::Model Client::get_model(const std::string& name, const ModelOptions& options) const {
  v1::GetModelRequest request;
  request.set_name(name);
  auto response = query<v1::GetModelResponse>(
      *impl_, options, [&](grpc::ClientContext& context, v1::GetModelResponse& answer) {
        return impl_->connection()->models->GetModel(&context, request, &answer);
      });
  return std::move(*response.mutable_model());
}

}  // namespace dashgate
