#include "connection_pool.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace dashgate::detail {
namespace {

// How many calls a gateway takes at once on a connection.
constexpr long kCallsPerConnection = 100;
constexpr std::size_t kMaxConnections = 20;

// The pool has one pointer, each call another.
long calls(const std::shared_ptr<Connection>& connection) { return connection.use_count() - 1; }

}  // namespace

Connection::Connection(std::shared_ptr<grpc::ChannelInterface> to)
    : channel(std::move(to)),
      conversations(v1::ConversationService::NewStub(channel)),
      media(v1::MediaService::NewStub(channel)),
      models(v1::ModelService::NewStub(channel)),
      sessions(v1::LiveService::NewStub(channel)) {}

ConnectionPool::ConnectionPool(const std::shared_ptr<grpc::ChannelInterface>& first, Open open,
                               std::shared_ptr<const Log> log)
    : open_(std::move(open)), log_(std::move(log)) {
  connections_.push_back(std::make_shared<Connection>(first));
  log_->connection(connections_.size());
}

std::shared_ptr<Connection> ConnectionPool::take() {
  const std::lock_guard lock(mutex_);
  const auto fewest = std::min_element(
      connections_.begin(), connections_.end(),
      [](const auto& one, const auto& other) { return calls(one) < calls(other); });
  if (open_ && calls(*fewest) >= kCallsPerConnection && connections_.size() < kMaxConnections) {
    connections_.push_back(std::make_shared<Connection>(open_()));
    log_->connection(connections_.size());
    return connections_.back();
  }
  return *fewest;
}

}  // namespace dashgate::detail
