#include "client_impl.h"

#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "call.h"

namespace dashgate {
namespace {

constexpr const char* kDefaultTarget = "127.0.0.1:50051";
// The default deadline of a unary call.
constexpr std::chrono::milliseconds kUnaryTimeout = std::chrono::minutes(10);

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string choose_target(const ClientOptions& options) {
  if (!options.target.empty()) return options.target;
  std::string target = from_environment("DASHGATE_ADDR");
  return target.empty() ? kDefaultTarget : target;
}

Metadata sent_always(const ClientOptions& options) {
  Metadata metadata = options.metadata;
  std::string key = options.api_key.value_or("");
  // Options of the program take precedence over the environment.
  if (!options.api_key && metadata.count("authorization") == 0) {
    key = from_environment("DASHGATE_API_KEY");
  }
  if (!key.empty()) {
    metadata.erase("authorization");
    metadata.emplace("authorization", "Bearer " + key);
  }
  detail::check_metadata(metadata);
  return metadata;
}

int check_retries(int max_retries) {
  if (max_retries >= 0) return max_retries;
  throw std::invalid_argument("dashgate: max_retries must not be negative");
}

}  // namespace

Client::Impl::Impl(const ClientOptions& options, std::shared_ptr<grpc::ChannelInterface> existing)
    : metadata(sent_always(options)),
      timeout_(options.timeout),
      idle_timeout_(options.idle_timeout),
      max_retries_(check_retries(options.max_retries)),
      setup_{options.interceptors, options.channel_arguments},
      channel_(std::move(existing)) {
  if (idle_timeout_ <= std::chrono::milliseconds::zero()) {
    throw std::invalid_argument("dashgate: idle_timeout must be more than zero");
  }
  for (const auto& interceptor : setup_.interceptors) {
    if (interceptor == nullptr) throw std::invalid_argument("dashgate: an interceptor is null");
  }
  if (channel_ == nullptr) {
    target_ = detail::read_target(choose_target(options), options.tls);
    log = detail::Log::from_environment(target_.address);
    return;
  }
  if (!options.target.empty() || options.tls || setup_.arguments || !setup_.interceptors.empty()) {
    throw std::invalid_argument(
        "dashgate: a channel that exists has its target, TLS, interceptors and arguments already");
  }
  log = detail::Log::from_environment("a channel of the program");
}

const std::shared_ptr<grpc::ChannelInterface>& Client::Impl::channel() {
  std::call_once(once_, [this] {
    detail::ConnectionPool::Open open;
    if (channel_ == nullptr) {
      open = [target = target_, setup = setup_] { return detail::make_channel(target, setup); };
      channel_ = open();
    }
    pool_ = std::make_shared<detail::ConnectionPool>(channel_, std::move(open), log);
    canceller_ = std::make_shared<detail::CallCanceller>(pool_);
  });
  return channel_;
}

Client::Impl::~Impl() {
  if (pool_ != nullptr) pool_->close();
  if (canceller_ != nullptr) canceller_->finish();
}

std::shared_ptr<detail::ConnectionLease> Client::Impl::connect(
    const detail::Deadline& deadline, const CancellationToken& cancellation,
    const std::string& request_id) {
  // Opening the channel takes some milliseconds, which a call with a short deadline may not have.
  if (detail::is_over(deadline)) {
    throw cancellation.is_cancelled() ? detail::cancelled(request_id) : detail::expired(request_id);
  }
  channel();
  return detail::acquire(pool_, deadline, cancellation, request_id);
}

detail::ConnectionLease Client::Impl::connect_for_cancellation() {
  channel();
  return detail::ConnectionLease(pool_, detail::LeaseKind::kCancellation);
}

detail::StreamClient Client::Impl::stream_client() {
  channel();
  return {pool_, canceller_, log, metadata, idle_timeout_};
}

detail::Deadline Client::Impl::unary_deadline(
    const std::optional<std::chrono::milliseconds>& timeout) const {
  return detail::from_now(timeout ? *timeout : timeout_.value_or(kUnaryTimeout));
}

detail::Deadline Client::Impl::stream_deadline(
    const std::optional<std::chrono::milliseconds>& timeout) const {
  if (timeout) return detail::from_now(*timeout);
  if (timeout_) return detail::from_now(*timeout_);
  return std::nullopt;
}

int Client::Impl::retries_of(const CallOptions& options) const {
  return options.max_retries ? check_retries(*options.max_retries) : max_retries_;
}

}  // namespace dashgate
