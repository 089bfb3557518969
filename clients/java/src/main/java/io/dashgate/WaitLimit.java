package io.dashgate;

import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Deadline;
import io.grpc.Status;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * Ends what waits in the client, as grpc-java ends a call: at its deadline, and when its context is
 * cancelled.
 */
final class WaitLimit {
  private final Context context;
  /** Null for none. */
  private final Deadline deadline;
  private final Consumer<Status> end;
  private final Context.CancellationListener listener;
  private final CompletableFuture<Boolean> timer = new CompletableFuture<>();

  /**
   * A limit that begins with {@link #start}.
   *
   * @param end receives the reason, at most once for each, on any thread
   */
  WaitLimit(Context context, Deadline deadline, Consumer<Status> end) {
    this.context = context;
    this.deadline = deadline;
    this.end = end;
    this.listener = cancelled -> end.accept(Contexts.statusFromCancelled(cancelled));
  }

  void start() {
    if (deadline != null) {
      long left = Math.max(0, deadline.timeRemaining(TimeUnit.NANOSECONDS));
      timer
          .completeOnTimeout(true, left, TimeUnit.NANOSECONDS)
          .thenAcceptAsync(this::late, Background.THREADS);
    }
    // It is called at once if the context is cancelled now.
    context.addListener(listener, Runnable::run);
  }

  /** Ends it for another reason. */
  void end(Status reason) {
    end.accept(reason);
  }

  void stop() {
    context.removeListener(listener);
    timer.complete(false);
  }

  private void late(boolean due) {
    if (due) {
      end.accept(Status.DEADLINE_EXCEEDED.withDescription("the deadline ended in the client"));
    }
  }
}
