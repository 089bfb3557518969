#include <dashgate/cancellation.h>

#include <utility>

#include "cancellation_state.h"

namespace dashgate {

CancellationToken::CancellationToken(std::shared_ptr<detail::CancellationState> state) noexcept
    : state_(std::move(state)) {}

bool CancellationToken::is_cancelled() const noexcept {
  return state_ != nullptr && state_->is_cancelled();
}

CancellationSource::CancellationSource() : state_(std::make_shared<detail::CancellationState>()) {}

CancellationToken CancellationSource::token() const noexcept { return CancellationToken(state_); }

void CancellationSource::cancel() noexcept { state_->cancel(); }

bool CancellationSource::is_cancelled() const noexcept { return state_->is_cancelled(); }

namespace detail {

void CancellationState::cancel() noexcept {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* call : calls_) call->TryCancel();
}

bool CancellationState::is_cancelled() noexcept {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

void CancellationState::add(grpc::ClientContext* call) {
  const std::lock_guard lock(mutex_);
  calls_.insert(call);
  if (cancelled_) call->TryCancel();
}

void CancellationState::remove(grpc::ClientContext* call) noexcept {
  const std::lock_guard lock(mutex_);
  calls_.erase(call);
}

CancelOnRequest::CancelOnRequest(const CancellationToken& token, grpc::ClientContext& call)
    : state_(token.state_), call_(&call) {
  if (state_ != nullptr) state_->add(call_);
}

CancelOnRequest::~CancelOnRequest() {
  if (state_ != nullptr) state_->remove(call_);
}

}  // namespace detail
}  // namespace dashgate
