// The implementation of a client.
#ifndef DASHGATE_SRC_CLIENT_IMPL_H_
#define DASHGATE_SRC_CLIENT_IMPL_H_

#include <dashgate/client.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "call_canceller.h"
#include "channel.h"
#include "connection_pool.h"
#include "log.h"
#include "regular_file.h"
#include "stream_state.h"
#include "upload_cache.h"

namespace dashgate {

// The channel is created with the first call: it starts threads, and a program may fork between
// creating the client and using it.
struct Client::Impl {
  Impl(const ClientOptions& options, std::shared_ptr<grpc::ChannelInterface> existing);

  const std::shared_ptr<grpc::ChannelInterface>& channel();
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Takes a connection for a call, which keeps the lease while it is in progress. Throws Error if
  // it cannot wait for one.
  std::shared_ptr<detail::ConnectionLease> connect(const detail::Deadline& deadline,
                                                   const CancellationToken& cancellation,
                                                   const std::string& request_id);
  // Takes a connection for the cancellation of a call, which does not wait for other calls.
  detail::ConnectionLease connect_for_cancellation();
  // What a stream needs; it may outlive the client.
  detail::StreamClient stream_client();

  // Returns the deadline of a unary call.
  detail::Deadline unary_deadline(const std::optional<std::chrono::milliseconds>& timeout) const;
  // Returns the deadline of a stream or a session.
  detail::Deadline stream_deadline(const std::optional<std::chrono::milliseconds>& timeout) const;
  // Returns how often a call that was throttled is made again.
  int retries_of(const CallOptions& options) const;

  Answer converse(const v1::Conversation& conversation, const CallOptions& options);
  Stream stream(const v1::Conversation& conversation, const CallOptions& options);
  v1::UploadMediaResponse upload(const std::string& model, detail::RegularFile& file,
                                 const UploadOptions& options, const detail::Deadline& deadline);

  // Uploads the large files of a conversation that is about to be sent, and replaces their URIs.
  void upload_files(v1::Conversation& conversation, const CallOptions& options,
                    const std::string& request_id, const detail::Deadline& deadline);

  Metadata metadata;  // with the key
  std::shared_ptr<const detail::Log> log;

 private:
  // Returns the model that uploads of a conversation are for.
  std::string model_of(const v1::Conversation& conversation, const CallOptions& options,
                       const detail::Deadline& deadline);

  std::optional<std::chrono::milliseconds> timeout_;
  std::chrono::milliseconds idle_timeout_;
  int max_retries_;
  detail::UploadCache uploads_;
  detail::Target target_;
  detail::ChannelSetup setup_;
  std::once_flag once_;
  std::shared_ptr<grpc::ChannelInterface> channel_;
  std::shared_ptr<detail::ConnectionPool> pool_;
  std::shared_ptr<detail::CallCanceller> canceller_;  // of calls whose streams were left
};

}  // namespace dashgate

#endif  // DASHGATE_SRC_CLIENT_IMPL_H_
