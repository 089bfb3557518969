#include "connection_pool.h"

#include <algorithm>
#include <utility>

#include "unreachable.h"

namespace dashgate::detail {

Connection::Connection(std::shared_ptr<grpc::ChannelInterface> to)
    : channel(std::move(to)),
      call_service(v1::CallService::NewStub(channel)),
      conversations(v1::ConversationService::NewStub(channel)),
      media(v1::MediaService::NewStub(channel)),
      models(v1::ModelService::NewStub(channel)),
      sessions(v1::LiveService::NewStub(channel)) {}

ConnectionPool::ConnectionPool(const std::shared_ptr<grpc::ChannelInterface>& first, Open open,
                               std::shared_ptr<const Log> log, PoolLimits limits)
    : open_(std::move(open)), log_(std::move(log)), limits_(limits) {
  connections_.push_back(std::make_shared<Connection>(first));
  log_->connection(connections_.size());
}

Error ConnectionPool::late(const std::string& request_id) {
  const std::lock_guard lock(mutex_);
  const bool is_away =
      std::all_of(connections_.begin(), connections_.end(), [](const auto& connection) {
        const grpc_connectivity_state state = connection->channel->GetState(false);
        return state == GRPC_CHANNEL_CONNECTING || state == GRPC_CHANNEL_TRANSIENT_FAILURE;
      });
  return is_away ? make_unreachable(log_->address(), request_id) : expired(request_id);
}

void ConnectionPool::close() noexcept {
  // Destroyed without the lock.
  std::vector<std::shared_ptr<Connection>> closed;
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  // The first one is for the streams that outlive the client.
  closed.assign(connections_.begin() + 1, connections_.end());
  connections_.resize(1);
  for (ConnectionLease* lease : waiting_) {
    lease->is_over_ = true;
    lease->changed_.notify_all();
  }
  waiting_.clear();
}

std::shared_ptr<Connection> ConnectionPool::take() {
  const auto fewest = std::min_element(
      connections_.begin(), connections_.end(),
      [](const auto& one, const auto& other) { return one->calls < other->calls; });
  std::shared_ptr<Connection> found = *fewest;
  if (open_ && found->calls >= limits_.calls) {
    if (connections_.size() >= limits_.connections) return nullptr;
    found = open();
    connections_.push_back(found);
  }
  ++found->calls;
  return found;
}

std::shared_ptr<Connection> ConnectionPool::take_spare() {
  if (spare_ == nullptr) spare_ = open();
  ++spare_->calls;
  return spare_;
}

std::shared_ptr<Connection> ConnectionPool::open() {
  auto opened = std::make_shared<Connection>(open_());
  log_->connection(connections_.size() + (spare_ == nullptr ? 1 : 2));
  return opened;
}

void ConnectionPool::give_back(const std::shared_ptr<Connection>& connection) {
  if (waiting_.empty() || connection == spare_) {
    --connection->calls;
    return;
  }
  ConnectionLease& next = *waiting_.front();
  waiting_.pop_front();
  next.connection_ = connection;
  next.changed_.notify_all();
}

ConnectionLease::ConnectionLease(std::shared_ptr<ConnectionPool> pool, LeaseKind kind)
    : pool_(std::move(pool)) {
  const std::lock_guard lock(pool_->mutex_);
  if (kind == LeaseKind::kCancellation) {
    connection_ = pool_->take();
    if (connection_ == nullptr) connection_ = pool_->take_spare();
    return;
  }
  if (pool_->is_closed_) {
    is_over_ = true;
    return;
  }
  // While others wait, all connections are full.
  connection_ = pool_->take();
  if (connection_ == nullptr) pool_->waiting_.push_back(this);
}

bool ConnectionLease::is_ready() noexcept {
  const std::lock_guard lock(pool_->mutex_);
  return connection_ != nullptr && !is_over_;
}

bool ConnectionLease::wait(const Deadline& deadline) {
  std::unique_lock lock(pool_->mutex_);
  const auto is_decided = [this] { return connection_ != nullptr || is_over_; };
  if (deadline) {
    changed_.wait_until(lock, *deadline, is_decided);
  } else {
    changed_.wait(lock, is_decided);
  }
  return connection_ != nullptr && !is_over_;
}

void ConnectionLease::release() noexcept {
  const std::lock_guard lock(pool_->mutex_);
  if (std::exchange(is_over_, true)) return;
  if (connection_ != nullptr) {
    pool_->give_back(connection_);
  } else {
    pool_->waiting_.remove(this);
  }
  changed_.notify_all();
}

std::shared_ptr<ConnectionLease> acquire(const std::shared_ptr<ConnectionPool>& pool,
                                         const Deadline& deadline,
                                         const CancellationToken& cancellation,
                                         const std::string& request_id) {
  auto lease = std::make_shared<ConnectionLease>(pool);
  if (lease->is_ready()) return lease;
  const CancelOnRequest on_request(cancellation, [&] { lease->release(); });
  if (lease->wait(deadline)) return lease;
  if (!cancellation.is_cancelled() && is_over(deadline)) throw pool->late(request_id);
  throw lease_error(cancellation.is_cancelled(), request_id);
}

Error lease_error(bool is_cancelled, const std::string& request_id) {
  if (is_cancelled) return cancelled(request_id);
  return make_error(grpc::StatusCode::CANCELLED, "the client was destroyed", request_id);
}

}  // namespace dashgate::detail
