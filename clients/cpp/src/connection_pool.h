// The connections of a client.
#ifndef DASHGATE_SRC_CONNECTION_POOL_H_
#define DASHGATE_SRC_CONNECTION_POOL_H_

#include <dashgate/v1/call_service.grpc.pb.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <dashgate/v1/live_service.grpc.pb.h>
#include <dashgate/v1/media_service.grpc.pb.h>
#include <dashgate/v1/model_service.grpc.pb.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "log.h"

namespace dashgate::detail {

// A channel with its own connection, and its stubs.
struct Connection {
  explicit Connection(std::shared_ptr<grpc::ChannelInterface> to);

  const std::shared_ptr<grpc::ChannelInterface> channel;
  const std::unique_ptr<v1::ConversationService::StubInterface> conversations;
  const std::unique_ptr<v1::MediaService::StubInterface> media;
  const std::unique_ptr<v1::ModelService::StubInterface> models;
  const std::unique_ptr<v1::LiveService::StubInterface> sessions;
};

// Opens another connection when all have as many calls as a gateway takes at once. A call keeps its
// pointer to the connection, and is counted by that. Thread-safe.
class ConnectionPool {
 public:
  using Open = std::function<std::shared_ptr<grpc::ChannelInterface>()>;

  // Opens the first connection. Without `open`, there is one, of a channel that was given.
  ConnectionPool(const std::shared_ptr<grpc::ChannelInterface>& first, Open open,
                 std::shared_ptr<const Log> log);

  // The connection with the fewest calls.
  std::shared_ptr<Connection> take();

 private:
  const Open open_;
  const std::shared_ptr<const Log> log_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Connection>> connections_;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_CONNECTION_POOL_H_
