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
  for (const CancelOnRequest* call : calls_) call->cancel_();
}

bool CancellationState::is_cancelled() noexcept {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

void CancellationState::add(const CancelOnRequest* call) {
  const std::lock_guard lock(mutex_);
  calls_.insert(call);
  if (cancelled_) call->cancel_();
}

void CancellationState::remove(const CancelOnRequest* call) noexcept {
  const std::lock_guard lock(mutex_);
  calls_.erase(call);
}

CancelOnRequest::CancelOnRequest(const CancellationToken& token, std::function<void()> cancel)
    : state_(token.state_), cancel_(std::move(cancel)) {
  if (state_ != nullptr) state_->add(this);
}

CancelOnRequest::~CancelOnRequest() {
  if (state_ != nullptr) state_->remove(this);
}

}  // namespace detail
}  // namespace dashgate
