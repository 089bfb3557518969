// Cancelling a call from another thread, as std::stop_source and std::stop_token of C++20 do.
#ifndef DASHGATE_CANCELLATION_H_
#define DASHGATE_CANCELLATION_H_

#include <memory>

namespace dashgate {

namespace detail {
class CancellationState;
class CancelOnRequest;
}  // namespace detail

// Given to a call, it says whether the call is still wanted. One that was made by itself never
// cancels anything.
class CancellationToken {
 public:
  CancellationToken() noexcept = default;

  // Whether the source was cancelled.
  bool is_cancelled() const noexcept;

 private:
  friend class CancellationSource;
  friend class detail::CancelOnRequest;
  explicit CancellationToken(std::shared_ptr<detail::CancellationState> state) noexcept;

  std::shared_ptr<detail::CancellationState> state_;
};

// Cancels every call that was given a token of it: those under way at once, later ones before they
// begin. All functions may be called from any thread. Copies are the same source.
class CancellationSource {
 public:
  CancellationSource();

  CancellationToken token() const noexcept;
  void cancel() noexcept;
  bool is_cancelled() const noexcept;

 private:
  std::shared_ptr<detail::CancellationState> state_;
};

}  // namespace dashgate

#endif  // DASHGATE_CANCELLATION_H_
