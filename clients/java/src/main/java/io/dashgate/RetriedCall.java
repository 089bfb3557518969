package io.dashgate;

import io.grpc.Attributes;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * A call with one request, retried before any part of the answer was received. The request is kept
 * as an object, so its size is not limited.
 */
final class RetriedCall<Q, A> extends ClientCall<Q, A> {
  private final RetryRule rule;
  private final Supplier<ClientCall<Q, A>> calls;
  private final Deadline deadline;
  /** Null for a call of a generated stub. */
  private final CallRecord record;

  private final Context context = Context.current();
  private final Context.CancellationListener contextCancelled =
      cancelled -> cancel("Context cancelled", cancelled.cancellationCause());

  // The arguments of every attempt; guarded by this.
  private Listener<A> listener;
  private Metadata headers;
  private Q request;
  private boolean isHalfClosed;
  private boolean compresses = true;
  private int requested;

  // The current state; guarded by this.
  private ClientCall<Q, A> attempt;
  private boolean isCommitted;
  private boolean isEnded;
  /** The status with which this side cancelled the call, or null. */
  private Status cancelled;
  /** The delay before the next attempt, or null. */
  private CompletableFuture<Boolean> pause;

  RetriedCall(RetryRule rule, Supplier<ClientCall<Q, A>> calls, CallOptions options) {
    this.rule = rule;
    this.record = options.getOption(CallRecord.OPTION);
    Deadline deadline = options.getDeadline();
    this.calls = calls;
    Deadline outer = context.getDeadline();
    this.deadline =
        deadline == null || outer == null ? first(deadline, outer) : deadline.minimum(outer);
    this.attempt = calls.get();
  }

  @Override
  public synchronized void start(Listener<A> responses, Metadata metadata) {
    listener = responses;
    headers = metadata;
    attempt.start(new Attempt(), Retries.copy(metadata));
    context.addListener(contextCancelled, Runnable::run);
  }

  @Override
  public synchronized void request(int messages) {
    requested += messages;
    if (pause == null) {
      attempt.request(messages);
    }
  }

  @Override
  public synchronized void sendMessage(Q message) {
    request = message;
    if (pause == null && cancelled == null) {
      attempt.sendMessage(message);
    }
  }

  @Override
  public synchronized void halfClose() {
    isHalfClosed = true;
    if (pause == null && cancelled == null) {
      attempt.halfClose();
    }
  }

  @Override
  public void cancel(String message, Throwable cause) {
    Status status = Status.CANCELLED.withDescription(message).withCause(cause);
    ClientCall<Q, A> current;
    boolean waited;
    synchronized (this) {
      cancelled = status;
      current = attempt;
      waited = pause != null;
      if (waited) {
        // If the timer has already fired, the next attempt checks for the cancellation.
        pause.complete(false);
      }
    }
    if (waited) {
      end(status, new Metadata());
    } else {
      current.cancel(message, cause);
    }
  }

  @Override
  public synchronized boolean isReady() {
    return pause == null && attempt.isReady();
  }

  @Override
  public synchronized void setMessageCompression(boolean enabled) {
    compresses = enabled;
    attempt.setMessageCompression(enabled);
  }

  @Override
  public synchronized Attributes getAttributes() {
    return attempt.getAttributes();
  }

  /** Starts the delay before the next attempt, if there is one. */
  private synchronized boolean begunPause(Status status, Metadata trailers) {
    if (isCommitted || cancelled != null || context.isCancelled()) {
      return false;
    }
    Optional<Duration> wait = rule.after(status, trailers);
    // If the deadline would expire during the delay, the error so far is more informative.
    if (wait.isEmpty() || !fits(wait.get())) {
      return false;
    }
    if (record != null) {
      record.retrying(status, wait.get());
    }
    pause = new CompletableFuture<>();
    pause
        .completeOnTimeout(true, wait.get().toNanos(), TimeUnit.NANOSECONDS)
        .thenAcceptAsync(this::again, Background.THREADS);
    return true;
  }

  private void again(boolean due) {
    if (due) {
      context.run(this::startAgain);
    }
  }

  private void startAgain() {
    ClientCall<Q, A> failed;
    synchronized (this) {
      if (cancelled != null) {
        return;
      }
      pause = null;
      try {
        attempt = calls.get();
        repeat();
        return;
      } catch (Throwable e) {
        // The client was closed, or an interceptor failed: the call must end.
        cancelled =
            e instanceof IllegalStateException
                ? Status.CANCELLED.withDescription(e.getMessage())
                : Status.fromThrowable(e);
        failed = attempt;
      }
    }
    end(cancelled, new Metadata());
    failed.cancel("it could not be begun", null);
  }

  /** Does with a new attempt what was done with the first one. */
  private void repeat() {
    attempt.start(new Attempt(), Retries.copy(headers));
    if (!compresses) {
      attempt.setMessageCompression(false);
    }
    attempt.request(requested);
    // The attempt may have failed before the request was set, which then follows by itself.
    if (request != null) {
      attempt.sendMessage(request);
    }
    if (isHalfClosed) {
      attempt.halfClose();
    }
  }

  private void end(Status status, Metadata trailers) {
    synchronized (this) {
      if (isEnded) {
        return;
      }
      isEnded = true;
    }
    context.removeListener(contextCancelled);
    if (status.isOk()) {
      rule.succeeded();
    }
    listener.onClose(status, trailers);
  }

  private boolean fits(Duration wait) {
    return deadline == null || deadline.timeRemaining(TimeUnit.NANOSECONDS) > wait.toNanos();
  }

  private static Deadline first(Deadline one, Deadline other) {
    return one == null ? other : one;
  }

  /**
   * One attempt. Its headers are held back until a message follows: headers alone are no part of
   * the answer, and a call has only one set. With some headers there is no retry, and they are not.
   */
  private final class Attempt extends Listener<A> {
    private Metadata head;

    @Override
    public void onHeaders(Metadata metadata) {
      head = metadata;
      if (rule.isLast(metadata)) {
        commit();
      }
    }

    @Override
    public void onMessage(A message) {
      commit();
      listener.onMessage(message);
    }

    private void commit() {
      synchronized (RetriedCall.this) {
        isCommitted = true;
        // There will be no retry.
        request = null;
      }
      tellHead();
    }

    @Override
    public void onReady() {
      listener.onReady();
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      if (!begunPause(status, trailers)) {
        tellHead();
        end(status, trailers);
      }
    }

    private void tellHead() {
      if (head != null) {
        Metadata received = head;
        head = null;
        listener.onHeaders(received);
      }
    }
  }
}
