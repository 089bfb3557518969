// The implementation of a client.
#ifndef DASHGATE_SRC_CLIENT_IMPL_H_
#define DASHGATE_SRC_CLIENT_IMPL_H_

#include <dashgate/client.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>
#include <dashgate/v1/live_service.grpc.pb.h>
#include <dashgate/v1/media_service.grpc.pb.h>
#include <dashgate/v1/model_service.grpc.pb.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "channel.h"

namespace dashgate {

// The channel is created with the first call: it starts threads, and a program may fork between
// creating the client and using it.
struct Client::Impl {
  Impl(const ClientOptions& options, std::shared_ptr<grpc::ChannelInterface> existing);

  const std::shared_ptr<grpc::ChannelInterface>& channel();
  v1::ConversationService::StubInterface& conversations();
  v1::MediaService::StubInterface& media();
  v1::ModelService::StubInterface& models();
  // Shared with sessions, which open streams after the client was destroyed.
  std::shared_ptr<v1::LiveService::StubInterface> sessions();

  std::optional<std::chrono::milliseconds> timeout;
  std::chrono::milliseconds idle_timeout;
  Metadata metadata;  // with the key

 private:
  detail::Target target_;
  std::once_flag once_;
  std::shared_ptr<grpc::ChannelInterface> channel_;
  std::unique_ptr<v1::ConversationService::StubInterface> conversations_;
  std::unique_ptr<v1::MediaService::StubInterface> media_;
  std::unique_ptr<v1::ModelService::StubInterface> models_;
  std::shared_ptr<v1::LiveService::StubInterface> sessions_;
};

}  // namespace dashgate

#endif  // DASHGATE_SRC_CLIENT_IMPL_H_
