package io.dashgate;

import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Usage;
import io.grpc.Attributes;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * A stream that continues on another connection if its own is lost, after the last event that was
 * received. If it is left before its end, the call is ended at the gateway, which would wait for
 * its reader.
 */
final class ResumedCall extends ClientCall<ConverseStreamRequest, ConverseStreamResponse> {
  private final StreamProgress progress;
  private final Supplier<ClientCall<ConverseStreamRequest, ConverseStreamResponse>> calls;
  private final Leaving.OfCall leave;
  private final CallRecord record;
  /** Null for none. */
  private final Deadline deadline;

  private final Context context = Context.current();
  private final Context.CancellationListener contextCancelled =
      cancelled -> cancel("Context cancelled", cancelled.cancellationCause());

  // The arguments of every connection's call; guarded by this.
  private Listener<ConverseStreamResponse> listener;
  private Metadata headers;
  private ConverseStreamRequest request;
  /** The messages that were requested and not delivered. */
  private int requested;

  // The current state; guarded by this.
  private ClientCall<ConverseStreamRequest, ConverseStreamResponse> current;
  private boolean hasHeaders;
  private boolean isCancelled;
  private boolean isEnded;
  /** The error that broke the stream, or null. */
  private Status fault;
  private Metadata faultTrailers;
  private Usage faultUsage;
  /** The delay before the next attempt, or null. */
  private CompletableFuture<Boolean> pause;

  private final Object leaving = new Object();
  /** Guarded by leaving. */
  private boolean isLeft;

  ResumedCall(
      StreamProgress progress,
      Supplier<ClientCall<ConverseStreamRequest, ConverseStreamResponse>> calls,
      Leaving.OfCall leave,
      CallRecord record,
      Deadline deadline) {
    this.progress = progress;
    this.calls = calls;
    this.leave = leave;
    this.record = record;
    this.deadline = deadline;
    this.current = calls.get();
  }

  int resumes() {
    return progress.resumes();
  }

  /** Returns the usage of the error that broke the stream. */
  synchronized Optional<Usage> earlierUsage() {
    return Optional.ofNullable(faultUsage);
  }

  @Override
  public synchronized void start(
      Listener<ConverseStreamResponse> responses, Metadata metadata) {
    listener = responses;
    headers = metadata;
    current.start(new Connection(), Retries.copy(metadata));
  }

  @Override
  public synchronized void request(int messages) {
    requested += messages;
    if (pause == null) {
      current.request(messages);
    }
  }

  @Override
  public synchronized void sendMessage(ConverseStreamRequest message) {
    request = message;
    // gRPC refuses messages of a call that was cancelled; its listener reports that.
    if (!isCancelled) {
      current.sendMessage(message);
    }
  }

  @Override
  public synchronized void halfClose() {
    if (!isCancelled) {
      current.halfClose();
    }
  }

  @Override
  public void cancel(String message, Throwable cause) {
    Runnable known = leave.announce();
    try {
      cancelAndLeave(message, cause);
    } finally {
      known.run();
    }
  }

  private void cancelAndLeave(String message, Throwable cause) {
    ClientCall<ConverseStreamRequest, ConverseStreamResponse> call;
    boolean waited;
    boolean over;
    synchronized (this) {
      over = isEnded;
      isCancelled = true;
      call = current;
      waited = pause != null;
      if (waited) {
        // If the timer has already fired, the next attempt checks for the cancellation.
        pause.complete(false);
      }
    }
    Status own = Status.CANCELLED.withDescription(message).withCause(cause);
    Status status = context.isCancelled() ? Contexts.statusFromCancelled(context) : own;
    if (waited) {
      end(status, new Metadata());
    } else {
      call.cancel(message, cause);
    }
    // That of an idle stream, whether it was reached or not.
    boolean isIdle =
        cause instanceof DashgateException
            && ((DashgateException) cause).code() != Status.Code.CANCELLED;
    if (!over) {
      mustLeave(isIdle || status.getCode() == Status.Code.DEADLINE_EXCEEDED);
    }
  }

  @Override
  public synchronized boolean isReady() {
    return pause == null && current.isReady();
  }

  @Override
  public synchronized void setMessageCompression(boolean enabled) {
    current.setMessageCompression(enabled);
  }

  @Override
  public synchronized Attributes getAttributes() {
    return current.getAttributes();
  }

  /** Starts the delay before the next attempt; false if there is none. */
  private synchronized boolean begunPause(Status status, Metadata trailers) {
    // Without a request, the call failed when it was started.
    boolean isOver = isCancelled || context.isCancelled() || status.isOk();
    if (isOver || request == null) {
      return false;
    }
    boolean isFirst = !progress.isResuming();
    DashgateException error =
        DashgateException.from(status, trailers, request.getRequestId());
    long delay = progress.failed(error);
    if (delay == StreamProgress.COMPLETE) {
      fault = Status.OK;
      faultTrailers = new Metadata();
      return false;
    }
    if (delay == StreamProgress.FINAL) {
      fault = null;
      return false;
    }
    if (isFirst) {
      fault = status;
      faultTrailers = trailers;
      faultUsage = error.usage().orElse(null);
    }
    if (delay == StreamProgress.FIRST) {
      return false;
    }
    record.resuming(status.getCode(), Duration.ofMillis(delay));
    pause = new CompletableFuture<>();
    // It is called at once if the context is cancelled now, and then ends this delay.
    context.addListener(contextCancelled, Runnable::run);
    pause
        .completeOnTimeout(
            true, ResumeBackoff.inTime(delay, deadline), TimeUnit.MILLISECONDS)
        .thenAcceptAsync(this::again, Background.THREADS);
    return true;
  }

  private void again(boolean due) {
    if (due) {
      context.removeListener(contextCancelled);
      context.run(this::open);
    }
  }

  private void open() {
    Status broken;
    Metadata trailers;
    ClientCall<ConverseStreamRequest, ConverseStreamResponse> failed;
    synchronized (this) {
      if (isCancelled) {
        return;
      }
      pause = null;
      try {
        current = calls.get();
        current.start(new Connection(), Retries.copy(headers));
        current.request(requested);
        current.sendMessage(request.toBuilder().setAfterSequence(progress.sequence()).build());
        current.halfClose();
        return;
      } catch (Throwable e) {
        // The client was closed, or an interceptor failed: the call must end.
        broken = fault;
        trailers = faultTrailers;
        failed = current;
      }
    }
    end(broken, trailers);
    failed.cancel("it could not be begun", null);
  }

  private void end(Status status, Metadata trailers) {
    synchronized (this) {
      if (isEnded) {
        return;
      }
      isEnded = true;
    }
    context.removeListener(contextCancelled);
    if (status.getCode() == Status.Code.DEADLINE_EXCEEDED) {
      mustLeave(true);
    } else if (context.isCancelled()) {
      mustLeave(false);
    }
    listener.onClose(status, trailers);
  }

  /** Ends the call at the gateway, once, if that waits for the stream. */
  private void mustLeave(boolean late) {
    // Two threads may leave a stream at once. The second one, which may close the client next, must
    // not go on before the first one's call has begun: closing waits for those that have.
    synchronized (leaving) {
      if (isLeft || !record.isSent() || !progress.mustLeave(late)) {
        return;
      }
      isLeft = true;
      leave.leave();
    }
  }

  /** The call of one connection. */
  private final class Connection extends Listener<ConverseStreamResponse> {
    /** The next event is missing. */
    private boolean isLate;

    @Override
    public void onHeaders(Metadata metadata) {
      progress.announced(metadata);
      synchronized (ResumedCall.this) {
        if (hasHeaders) {
          return;
        }
        hasHeaders = true;
      }
      listener.onHeaders(metadata);
    }

    @Override
    public void onMessage(ConverseStreamResponse message) {
      StreamProgress.Received received = progress.received(message);
      if (isLate || received == StreamProgress.Received.LATER) {
        isLate = true;
        current.cancel("events are missing", null);
      } else if (received == StreamProgress.Received.KNOWN) {
        current.request(1);
      } else {
        synchronized (ResumedCall.this) {
          requested--;
        }
        listener.onMessage(message);
      }
    }

    @Override
    public void onReady() {
      listener.onReady();
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      if (isLate) {
        end(fault, faultTrailers);
      } else if (!begunPause(status, trailers)) {
        boolean own = isCancelled || fault == null || status.isOk();
        end(own ? status : fault, own ? trailers : faultTrailers);
      }
    }
  }
}
