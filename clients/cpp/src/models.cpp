// Models.
#include <dashgate/client.h>

#include <iterator>
#include <utility>

#include "client_impl.h"
#include "query.h"

namespace dashgate {

std::vector<v1::Model> Client::list_models(const ModelOptions& options) const {
  std::vector<v1::Model> models;
  v1::ListModelsRequest request;
  request.set_page_size(options.page_size);
  do {
    auto page = detail::query<v1::ListModelsResponse>(
        *impl_, options, impl_->unary_deadline(options.timeout), "ListModels",
        [&](detail::Connection& to, grpc::ClientContext& context,
            v1::ListModelsResponse& response) {
          return to.models->ListModels(&context, request, &response);
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
  auto response = detail::query<v1::GetModelResponse>(
      *impl_, options, impl_->unary_deadline(options.timeout), "GetModel",
      [&](detail::Connection& to, grpc::ClientContext& context, v1::GetModelResponse& answer) {
        return to.models->GetModel(&context, request, &answer);
      });
  return std::move(*response.mutable_model());
}

}  // namespace dashgate
