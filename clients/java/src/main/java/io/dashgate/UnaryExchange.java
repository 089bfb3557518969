package io.dashgate;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** A call with one response, as a future. Completing the future cancels the call. */
class UnaryExchange<Q, A> extends Exchange<Q, A> {
  private final CompletableFuture<A> future = new CompletableFuture<>();
  private volatile A answer;

  UnaryExchange(ClientCall<Q, A> call, CallRecord record) {
    super(call, record);
  }

  final CompletableFuture<A> begin(Metadata headers) {
    start(headers);
    future.whenComplete(
        (value, fault) -> {
          if (!isOver()) {
            cancel("its future was completed");
          }
        });
    // One more than expected, so that the end of the call is received.
    call().request(2);
    return future;
  }

  final CompletableFuture<A> future() {
    return future;
  }

  /** Waits for the response of a call. */
  static <T> T await(CompletableFuture<T> future) {
    try {
      return future.get();
    } catch (InterruptedException e) {
      future.cancel(false);
      Thread.currentThread().interrupt();
      throw DashgateException.own(Status.Code.CANCELLED, "", "the thread was interrupted", "");
    } catch (ExecutionException e) {
      Throwable cause = e.getCause();
      if (cause instanceof DashgateException) {
        // The stack trace of the waiting thread, not that of the network thread.
        throw (DashgateException) cause.fillInStackTrace();
      }
      throw Throwables.raise(cause);
    }
  }

  @Override
  public final void onMessage(A message) {
    answer = message;
  }

  @Override
  void ended(DashgateException fault) {
    if (fault != null) {
      future.completeExceptionally(fault);
    } else {
      future.complete(answer);
    }
  }

  @Override
  final DashgateException incomplete() {
    return answer == null
        ? DashgateException.own(
            Status.Code.INTERNAL, "", "the call ended well, but without an answer", requestId())
        : null;
  }
}
