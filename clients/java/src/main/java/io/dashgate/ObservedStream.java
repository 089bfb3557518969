package io.dashgate;

import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** A stream whose events are passed to a consumer, and a future of the answer. */
final class ObservedStream extends Exchange<ConverseStreamRequest, ConverseStreamResponse> {
  private final Consumer<? super ConverseStreamResponse> consumer;
  private final IdleClock idle;
  private final AnswerFold fold = new AnswerFold();
  private final CompletableFuture<Answer> future = new CompletableFuture<>();
  /** The time since which the next event is awaited. */
  private volatile long waitingSince;
  /** False while the consumer runs: that time does not count as idle. */
  private volatile boolean waiting = true;
  private volatile CompletableFuture<Boolean> timer;

  private ObservedStream(
      ClientCall<ConverseStreamRequest, ConverseStreamResponse> call,
      CallRecord record,
      Consumer<? super ConverseStreamResponse> consumer,
      IdleClock idle) {
    super(call, record);
    this.consumer = consumer;
    this.idle = idle;
    this.waitingSince = idle.now();
  }

  static CompletableFuture<Answer> begin(
      ClientCall<ConverseStreamRequest, ConverseStreamResponse> call,
      Metadata headers,
      ConverseStreamRequest request,
      CallRecord record,
      Consumer<? super ConverseStreamResponse> consumer,
      IdleClock idle) {
    ObservedStream stream =
        new ObservedStream(call, record, consumer, idle);
    stream.start(headers);
    stream.watch(idle.limit().toNanos());
    stream.future.whenComplete((answer, fault) -> stream.release());
    call.request(1);
    stream.sendOnly(request);
    return stream.future;
  }

  @Override
  public void onMessage(ConverseStreamResponse event) {
    waiting = false;
    try {
      fold.add(event);
      consumer.accept(event);
    } catch (Throwable e) {
      // The consumer's exception is passed on unchanged, and cancels the call.
      future.completeExceptionally(e);
      return;
    }
    waitingSince = idle.now();
    waiting = true;
    call().request(1);
  }

  @Override
  void ended(DashgateException fault) {
    if (fault == null) {
      future.complete(fold.answer(received()));
      return;
    }
    fault.received(fold, received());
    future.completeExceptionally(fault);
  }

  @Override
  DashgateException incomplete() {
    return fold.isComplete() ? null : StreamRules.truncated(requestId());
  }

  /** Checks again after this time; {@link #release} stops it. */
  private void watch(long nanos) {
    CompletableFuture<Boolean> next = new CompletableFuture<>();
    timer = next;
    next.completeOnTimeout(true, nanos, TimeUnit.NANOSECONDS).thenAccept(this::look);
    if (future.isDone()) {
      next.complete(false);
    }
  }

  private void look(boolean due) {
    if (!due) {
      return;
    }
    long left = waiting ? idle.left(waitingSince) : idle.limit().toNanos();
    if (left > 0) {
      watch(left);
    } else {
      StreamRules.idle(this, idle.limit());
    }
  }

  private void release() {
    timer.complete(false);
    cancel("its future was completed");
  }
}
