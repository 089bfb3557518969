package io.dashgate;

import io.dashgate.v1.CallServiceGrpc;
import io.dashgate.v1.CancelCallRequest;
import io.dashgate.v1.CancelCallResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/** The calls that end other calls, whose streams were left. */
final class Leaving {
  /** Their deadline. The gateway ends a call by itself after some seconds. */
  private static final long LIMIT_SECONDS = 2;

  private final Channel channel;
  /** Not those that closing the client cancels: it waits for them. */
  private final RunningCalls calls;

  /** The calls, and the streams that are being left, whose calls may follow. */
  private final Set<CompletableFuture<?>> left = ConcurrentHashMap.newKeySet();

  Leaving(Channel channel, CallLog log) {
    this.channel = channel;
    this.calls = new RunningCalls(log);
  }

  /** Returns what ends a call, whose metadata is only made if it is needed. */
  OfCall of(Supplier<Metadata> headers, String requestId) {
    return new OfCall(headers, requestId);
  }

  /** Ends a call, whose stream is left. */
  final class OfCall {
    private final Supplier<Metadata> headers;
    private final String requestId;

    private OfCall(Supplier<Metadata> headers, String requestId) {
      this.headers = headers;
      this.requestId = requestId;
    }

    /**
     * Notes that the stream is being left. A stream that was cancelled is no longer among the calls
     * of the client: closing that must not go on before the call begins, or will not be made.
     *
     * @return called when it is known
     */
    Runnable announce() {
      CompletableFuture<Void> known = new CompletableFuture<>();
      left.add(known);
      return () -> {
        left.remove(known);
        known.complete(null);
      };
    }

    /** Ends the call, without waiting. */
    void leave() {
      Leaving.this.leave(headers.get(), requestId);
    }
  }

  private void leave(Metadata headers, String requestId) {
    CallOptions options =
        CallOptions.DEFAULT
            .withDeadlineAfter(LIMIT_SECONDS, TimeUnit.SECONDS)
            .withOption(ConnectionPool.AT_ONCE, true);
    CancelCallRequest request = CancelCallRequest.newBuilder().setRequestId(requestId).build();
    // Not in the context of the stream, which may be cancelled.
    Context.ROOT.run(
        () -> {
          UnaryExchange<CancelCallRequest, CancelCallResponse> exchange =
              new UnaryExchange<>(
                  channel.newCall(CallServiceGrpc.getCancelCallMethod(), options),
                  calls.record(CallServiceGrpc.getCancelCallMethod(), requestId));
          CompletableFuture<CancelCallResponse> ended = exchange.begin(headers);
          left.add(ended);
          ended.whenComplete((response, fault) -> left.remove(ended));
          exchange.sendOnly(request);
        });
  }

  /** Waits for them, also in a thread that is interrupted: it is not for long. */
  void finish() {
    Deadline limit = Deadline.after(LIMIT_SECONDS, TimeUnit.SECONDS);
    boolean isInterrupted = false;
    // A stream that is being left adds its call before it is removed.
    while (!left.isEmpty() && !limit.isExpired()) {
      try {
        CompletableFuture.allOf(left.toArray(new CompletableFuture<?>[0]))
            .get(limit.timeRemaining(TimeUnit.NANOSECONDS), TimeUnit.NANOSECONDS);
      } catch (ExecutionException | TimeoutException e) {
        // The gateway ends the calls by itself.
        continue;
      } catch (InterruptedException e) {
        // Otherwise what an interrupted thread leaves would go on, and cost.
        isInterrupted = true;
      }
    }
    if (isInterrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
