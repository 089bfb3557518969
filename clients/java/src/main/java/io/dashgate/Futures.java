package io.dashgate;

import io.grpc.Context;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.function.Supplier;

/** Futures whose results follow from those of others. */
final class Futures {
  private Futures() {}

  /**
   * Returns a future of the mapped result. Unlike {@code thenApply}, it does not wrap the
   * exception, and completing it cancels the source.
   */
  static <T, R> CompletableFuture<R> map(CompletableFuture<T> source, Function<T, R> mapping) {
    CompletableFuture<R> mapped = new CompletableFuture<>();
    source.whenComplete(
        (value, fault) -> {
          if (fault != null) {
            mapped.completeExceptionally(fault);
            return;
          }
          try {
            mapped.complete(mapping.apply(value));
          } catch (Throwable e) {
            mapped.completeExceptionally(e);
          }
        });
    mapped.whenComplete((value, fault) -> source.cancel(false));
    return mapped;
  }

  /** Returns the future of a call. An exception that the call begins with is one of the future. */
  static <T> CompletableFuture<T> begin(Supplier<CompletableFuture<T>> call) {
    try {
      return call.get();
    } catch (RuntimeException e) {
      return CompletableFuture.failedFuture(e);
    }
  }

  /** Returns a future of the same result, whose completion does not cancel the source. */
  static <T> CompletableFuture<T> kept(CompletableFuture<T> source) {
    CompletableFuture<T> kept = new CompletableFuture<>();
    source.whenComplete((value, fault) -> settle(kept, value, fault));
    return kept;
  }

  private static <T> void settle(CompletableFuture<T> future, T value, Throwable fault) {
    if (fault == null) {
      future.complete(value);
    } else {
      future.completeExceptionally(fault);
    }
  }

  /**
   * Returns a future of the call that follows, in the context of this thread. It does not wrap
   * exceptions, and completing it cancels what is running.
   */
  static <T, R> CompletableFuture<R> compose(
      CompletableFuture<T> source, Function<T, CompletableFuture<R>> following) {
    Context context = Context.current();
    CompletableFuture<R> composed = new CompletableFuture<>();
    source.whenComplete(
        (value, fault) -> {
          if (fault != null) {
            composed.completeExceptionally(fault);
          } else if (!composed.isDone()) {
            context.run(() -> follow(following, value, composed));
          }
        });
    composed.whenComplete((value, fault) -> source.cancel(false));
    return composed;
  }

  private static <T, R> void follow(
      Function<T, CompletableFuture<R>> following, T value, CompletableFuture<R> composed) {
    try {
      CompletableFuture<R> next = following.apply(value);
      next.whenComplete((result, fault) -> settle(composed, result, fault));
      composed.whenComplete((result, fault) -> next.cancel(false));
    } catch (Throwable e) {
      composed.completeExceptionally(e);
    }
  }
}
