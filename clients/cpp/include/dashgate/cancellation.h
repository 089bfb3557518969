// Cancels calls from another thread, like std::stop_source and std::stop_token of C++20.
#ifndef DASHGATE_CANCELLATION_H_
#define DASHGATE_CANCELLATION_H_

#include <memory>

namespace dashgate {

namespace detail {
class CancellationState;
class CancelOnRequest;
}  // namespace detail

/// Connects calls to a CancellationSource. A default-constructed token never cancels.
class CancellationToken {
 public:
  CancellationToken() noexcept = default;

  /// Returns whether the source was cancelled.
  bool is_cancelled() const noexcept;

 private:
  friend class CancellationSource;
  friend class detail::CancelOnRequest;
  explicit CancellationToken(std::shared_ptr<detail::CancellationState> state) noexcept;

  std::shared_ptr<detail::CancellationState> state_;
};

/// Cancels all calls that have one of its tokens: running calls immediately, later ones before they
/// start. Thread-safe. Copies share one state.
class CancellationSource {
 public:
  CancellationSource();

  /// Returns a token of this source.
  CancellationToken token() const noexcept;
  /// Cancels all calls that have a token of this source.
  void cancel() noexcept;
  /// Returns whether it was cancelled.
  bool is_cancelled() const noexcept;

 private:
  std::shared_ptr<detail::CancellationState> state_;
};

}  // namespace dashgate

#endif  // DASHGATE_CANCELLATION_H_
