package io.dashgate;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * Threads for what may block, such as reading a file: those of a connection serve other calls, and
 * those of the common pool may all run functions of tools. They do not keep the process alive.
 */
final class Background {
  static final Executor THREADS =
      new ThreadPoolExecutor(
          0,
          Integer.MAX_VALUE,
          10,
          TimeUnit.SECONDS,
          new SynchronousQueue<>(),
          work -> {
            Thread thread = new Thread(work, "dashgate-background");
            thread.setDaemon(true);
            return thread;
          });

  private Background() {}

  /** Returns a future of what a thread makes. Exceptions are not wrapped. */
  static <T> CompletableFuture<T> supply(Supplier<T> work) {
    CompletableFuture<T> made = new CompletableFuture<>();
    THREADS.execute(
        () -> {
          try {
            made.complete(work.get());
          } catch (Throwable e) {
            made.completeExceptionally(e);
          }
        });
    return made;
  }
}
