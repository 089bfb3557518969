// The connections of a client.
#ifndef DASHGATE_SRC_CONNECTION_POOL_H_
#define DASHGATE_SRC_CONNECTION_POOL_H_

#include <dashgate/v1/call_service.grpc.pb.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <dashgate/v1/live_service.grpc.pb.h>
#include <dashgate/v1/media_service.grpc.pb.h>
#include <dashgate/v1/model_service.grpc.pb.h>

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "call.h"
#include "log.h"

namespace dashgate::detail {

// A channel with its own connection, and its stubs.
struct Connection {
  explicit Connection(std::shared_ptr<grpc::ChannelInterface> to);

  const std::shared_ptr<grpc::ChannelInterface> channel;
  const std::unique_ptr<v1::CallService::StubInterface> call_service;
  const std::unique_ptr<v1::ConversationService::StubInterface> conversations;
  const std::unique_ptr<v1::MediaService::StubInterface> media;
  const std::unique_ptr<v1::ModelService::StubInterface> models;
  const std::unique_ptr<v1::LiveService::StubInterface> sessions;
  std::size_t calls = 0;  // the lock of the pool protects it
};

// How many calls a gateway takes at once on a connection, and how many connections are opened.
struct PoolLimits {
  std::size_t calls = 100;
  std::size_t connections = 20;
};

class ConnectionLease;

// Opens another connection when all have as many calls as they take. Calls beyond the last one wait
// in their order. Thread-safe.
class ConnectionPool {
 public:
  using Open = std::function<std::shared_ptr<grpc::ChannelInterface>()>;

  // Opens the first connection. Without `open`, there is one, of a channel that was given, and its
  // calls wait in gRPC.
  ConnectionPool(const std::shared_ptr<grpc::ChannelInterface>& first, Open open,
                 std::shared_ptr<const Log> log, PoolLimits limits = {});

  // Returns the error of a call whose deadline ended while it waited for other calls. They may have
  // waited for the gateway.
  Error late(const std::string& request_id);

  // Ends what waits, from now on. Calls that have a connection go on, and can be cancelled at the
  // gateway.
  void close() noexcept;

 private:
  friend class ConnectionLease;

  // The following require the lock.
  // Returns the connection with the fewest calls, which has one more now; null if there is none.
  std::shared_ptr<Connection> take();
  // Returns the connection for cancellations while the others are full; it has one more call now.
  std::shared_ptr<Connection> take_spare();
  void give_back(const std::shared_ptr<Connection>& connection);
  std::shared_ptr<Connection> open();

  const Open open_;
  const std::shared_ptr<const Log> log_;
  const PoolLimits limits_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Connection>> connections_;
  std::shared_ptr<Connection> spare_;
  std::list<ConnectionLease*> waiting_;
  bool is_closed_ = false;
};

// What a connection is taken for.
enum class LeaseKind {
  kCall,
  kCancellation,  // never waits: it ends what the others wait for
};

// The connection of a call, or its place in the order of those that wait for one. It may outlive
// the client.
class ConnectionLease {
 public:
  // Takes a connection, or begins to wait.
  explicit ConnectionLease(std::shared_ptr<ConnectionPool> pool, LeaseKind kind = LeaseKind::kCall);
  ConnectionLease(const ConnectionLease&) = delete;
  ConnectionLease& operator=(const ConnectionLease&) = delete;
  ~ConnectionLease() { release(); }

  // Returns whether there is a connection, without waiting.
  bool is_ready() noexcept;

  // Waits for a connection. Returns false after the deadline, after release(), or if the client was
  // destroyed.
  bool wait(const Deadline& deadline);

  // The connection, which is_ready() or wait() has reported.
  Connection& connection() const noexcept { return *connection_; }

  // Ends the wait, or lets other calls use the connection. Thread-safe.
  void release() noexcept;

 private:
  friend class ConnectionPool;

  const std::shared_ptr<ConnectionPool> pool_;
  std::condition_variable changed_;
  // The lock of the pool protects what follows; the connection is set once.
  std::shared_ptr<Connection> connection_;
  bool is_over_ = false;
};

// Takes a connection for a call, or waits for one. Throws Error as the call would: after its
// deadline, or if it is cancelled.
std::shared_ptr<ConnectionLease> acquire(const std::shared_ptr<ConnectionPool>& pool,
                                         const Deadline& deadline,
                                         const CancellationToken& cancellation,
                                         const std::string& request_id);

// Returns the error of a call that no longer waits for a connection, before its deadline.
Error lease_error(bool is_cancelled, const std::string& request_id);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CONNECTION_POOL_H_
