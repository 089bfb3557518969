package io.dashgate;

import io.dashgate.v1.CallServiceGrpc;
import io.dashgate.v1.CancelCallRequest;
import io.dashgate.v1.CancelCallResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Metadata;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** The calls that end other calls, whose streams were left. */
final class Leaving {
  /** Their deadline. The gateway ends a call by itself after some seconds. */
  private static final long LIMIT_SECONDS = 2;

  private final Channel channel;
  /** Not those that closing the client cancels: it waits for them. */
  private final RunningCalls calls;

  private final Set<CompletableFuture<CancelCallResponse>> left = ConcurrentHashMap.newKeySet();

  Leaving(Channel channel, CallLog log) {
    this.channel = channel;
    this.calls = new RunningCalls(log);
  }

  /** Ends a call, without waiting. */
  void leave(Metadata headers, String requestId) {
    CallOptions options =
        CallOptions.DEFAULT.withDeadlineAfter(LIMIT_SECONDS, TimeUnit.SECONDS);
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

  /** Waits for them. */
  void finish() {
    try {
      CompletableFuture.allOf(left.toArray(new CompletableFuture<?>[0]))
          .get(LIMIT_SECONDS, TimeUnit.SECONDS);
    } catch (ExecutionException | TimeoutException e) {
      // The gateway ends the calls by itself.
      return;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
