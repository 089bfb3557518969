package io.dashgate;

import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

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
          } catch (RuntimeException | Error e) {
            mapped.completeExceptionally(e);
          }
        });
    mapped.whenComplete((value, fault) -> source.cancel(false));
    return mapped;
  }
}
