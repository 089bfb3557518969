#include "call_canceller.h"

#include <grpcpp/client_context.h>

#include <chrono>

#include "call.h"

namespace dashgate::detail {
namespace {

// The gateway ends a call without readers by itself after some seconds.
constexpr std::chrono::milliseconds kLimit = std::chrono::seconds(2);

// So many are cancelled at once; the gateway ends the others.
constexpr int kMaxPending = 1000;

}  // namespace

struct CallCanceller::Pending {
  explicit Pending(const std::shared_ptr<ConnectionPool>& pool)
      : lease(pool, LeaseKind::kCancellation) {}

  ConnectionLease lease;
  grpc::ClientContext context;
  v1::CancelCallResponse response;
  grpc::Status status;
  // Destroyed before the context, which owns the memory that it lies in.
  std::unique_ptr<grpc::ClientAsyncResponseReaderInterface<v1::CancelCallResponse>> reader;
};

CallCanceller::~CallCanceller() {
  queue_.Shutdown();
  if (thread_.joinable()) thread_.join();
}

void CallCanceller::cancel(const std::string& request_id, const Metadata& of_client,
                           const Metadata& of_call) noexcept {
  try {
    v1::CancelCallRequest request;
    request.set_request_id(request_id);
    const std::lock_guard lock(mutex_);
    if (pending_ == kMaxPending) return;
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    auto pending = std::make_unique<Pending>(pool_);
    add_metadata(pending->context, of_client, of_call);
    pending->context.set_deadline(from_now(kLimit));
    v1::CallService::StubInterface& service = *pending->lease.connection().call_service;
    pending->reader = service.PrepareAsyncCancelCall(&pending->context, request, &queue_);
    pending->reader->StartCall();
    Pending& started = *pending.release();
    started.reader->Finish(&started.response, &started.status, &started);
    ++pending_;
  } catch (...) {
    // Without memory, threads or a channel: the gateway ends the call.
    return;
  }
}

void CallCanceller::finish() noexcept {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kLimit, [this] { return pending_ == 0; });
}

void CallCanceller::run() noexcept {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    delete static_cast<Pending*>(tag);
    const std::lock_guard lock(mutex_);
    --pending_;
    changed_.notify_all();
  }
}

}  // namespace dashgate::detail
