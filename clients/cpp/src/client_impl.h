// The implementation of a client.
#ifndef DASHGATE_SRC_CLIENT_IMPL_H_
#define DASHGATE_SRC_CLIENT_IMPL_H_

#include <dashgate/client.h>
#include <dashgate/v1/live_service.grpc.pb.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "call_canceller.h"
#include "channel.h"
#include "connection_pool.h"
#include "stream_state.h"

namespace dashgate {

// The channel is created with the first call: it starts threads, and a program may fork between
// creating the client and using it.
struct Client::Impl {
  Impl(const ClientOptions& options, std::shared_ptr<grpc::ChannelInterface> existing);

  const std::shared_ptr<grpc::ChannelInterface>& channel();
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // The connection for a call, which keeps the pointer while it is in progress.
  std::shared_ptr<detail::Connection> connection();
  // Cancels calls whose streams were left.
  const std::shared_ptr<detail::CallCanceller>& canceller();
  // What a stream needs; it may outlive the client.
  detail::StreamClient stream_client();
  // Shared with sessions, which open streams after the client was destroyed.
  std::shared_ptr<v1::LiveService::StubInterface> sessions();

  std::optional<std::chrono::milliseconds> timeout;
  std::chrono::milliseconds idle_timeout;
  Metadata metadata;  // with the key

 private:
  detail::Target target_;
  std::once_flag once_;
  std::shared_ptr<grpc::ChannelInterface> channel_;
  std::unique_ptr<detail::ConnectionPool> pool_;
  std::shared_ptr<detail::CallCanceller> canceller_;
};

}  // namespace dashgate

#endif  // DASHGATE_SRC_CLIENT_IMPL_H_
