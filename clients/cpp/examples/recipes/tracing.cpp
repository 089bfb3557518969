#include <grpcpp/support/client_interceptor.h>

#include "recipes.h"

namespace recipes {
namespace {

// region interceptor
namespace experimental = grpc::experimental;

class TraceInterceptor final : public experimental::Interceptor {
 public:
  explicit TraceInterceptor(std::string trace) : trace_(std::move(trace)) {}

  void Intercept(experimental::InterceptorBatchMethods* methods) override {
    if (!trace_.empty() && methods->QueryInterceptionHookPoint(
                               experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("traceparent", trace_);
    }
    methods->Proceed();
  }

 private:
  const std::string trace_;
};

class TraceFactory final : public experimental::ClientInterceptorFactoryInterface {
 public:
  explicit TraceFactory(CurrentTrace current_trace) : current_trace_(std::move(current_trace)) {}

  // gRPC calls it in the thread that makes the call, and owns the result.
  experimental::Interceptor* CreateClientInterceptor(
      experimental::ClientRpcInfo* /*info*/) override {
    return new TraceInterceptor(current_trace_());
  }

 private:
  const CurrentTrace current_trace_;
};
// endregion

}  // namespace

// region traced
dashgate::Client make_traced_client(dashgate::ClientOptions options, CurrentTrace current_trace) {
  options.interceptors.push_back(std::make_shared<TraceFactory>(std::move(current_trace)));
  return dashgate::Client(std::move(options));
}
// endregion

}  // namespace recipes
