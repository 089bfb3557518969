package io.dashgate;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.atomic.AtomicReference;

/** One call: it is started, receives messages, and ends once. */
abstract class Exchange<Q, A> extends ClientCall.Listener<A> {
  private final ClientCall<Q, A> call;
  private final CallRecord record;
  /** The error with which this side cancelled the call, if it did. */
  private final AtomicReference<DashgateException> ownFault = new AtomicReference<>();
  private volatile boolean over;
  /** The initial metadata, and from the end of the call also the trailers. */
  private volatile TextHeaders received = TextHeaders.NONE;
  /** Null before the headers of the response. */
  private Metadata initial;

  /** Wraps a call that has not been started. */
  Exchange(ClientCall<Q, A> call, CallRecord record) {
    this.call = call;
    this.record = record;
  }

  /** The call has ended: with {@code fault}, or successfully if that is null. Called once. */
  abstract void ended(DashgateException fault);

  /** Returns the error of a call that ended with OK, but not as it must; null if it did. */
  abstract DashgateException incomplete();

  final void start(Metadata headers) {
    record.started(this);
    try {
      call.start(this, headers);
    } catch (RuntimeException | Error e) {
      // An interceptor failed, perhaps when the call had already begun.
      record.notStarted(this);
      cancel("the call could not be started");
      throw e;
    }
  }

  /** Sends the only request of a unary or server-streaming call. */
  final void sendOnly(Q message) {
    try {
      call.sendMessage(message);
      call.halfClose();
    } catch (RuntimeException e) {
      if (isOver()) {
        // A call that has ended refuses messages; its end has been reported.
        return;
      }
      call.cancel("the request could not be sent", e);
      throw e;
    }
  }

  /** Whether the call has ended, or was cancelled. */
  final boolean isOver() {
    return over;
  }

  final ClientCall<Q, A> call() {
    return call;
  }

  final String requestId() {
    return record.requestId();
  }

  /** Returns the metadata that was received so far. */
  final TextHeaders received() {
    return received;
  }

  /** Cancels the call if it has not ended. */
  void cancel(String why) {
    over = true;
    call.cancel(why, null);
  }

  /** Cancels the call with an error that this side detected. */
  final DashgateException fail(Status.Code code, String reason, String message) {
    DashgateException fault = DashgateException.own(code, reason, message, requestId());
    ownFault.compareAndSet(null, fault);
    over = true;
    // The cause distinguishes a deadline from a stream that is left.
    call.cancel(message, fault);
    return fault;
  }

  /** Cancels a call that takes too long. If it did not reach the gateway, that is the reason. */
  final DashgateException expire(String reason, String message) {
    String obstacle = record.obstacle();
    return obstacle == null
        ? fail(Status.Code.DEADLINE_EXCEEDED, reason, message)
        : fail(Status.Code.UNAVAILABLE, "", obstacle);
  }

  @Override
  public final void onHeaders(Metadata metadata) {
    initial = metadata;
    received = TextHeaders.of(metadata);
  }

  @Override
  public final void onClose(Status status, Metadata trailers) {
    over = true;
    // At once: another thread may read it meanwhile.
    TextHeaders last = TextHeaders.of(trailers);
    received = initial == null ? last : last.after(initial);
    DashgateException fault = fault(status, trailers);
    if (fault != null && initial != null) {
      fault.initialMetadata(initial);
    }
    record.ended(this, fault);
    ended(fault);
  }

  /** Returns null for a call that ended successfully. */
  private DashgateException fault(Status status, Metadata trailers) {
    DashgateException own = ownFault.get();
    if (own != null) {
      return own;
    }
    if (status.isOk()) {
      return incomplete();
    }
    DashgateException fault = unreached(status, trailers);
    if (call instanceof ResumedCall) {
      ((ResumedCall) call).earlierUsage().ifPresent(fault::usageBefore);
    }
    return fault;
  }

  /** A deadline that ended before the gateway was reached is that of a gateway that is away. */
  private DashgateException unreached(Status status, Metadata trailers) {
    DashgateException fault = DashgateException.from(status, trailers, requestId());
    String obstacle = record.obstacle();
    boolean isLate = fault.code() == Status.Code.DEADLINE_EXCEEDED && obstacle != null;
    return isLate
        ? DashgateException.own(Status.Code.UNAVAILABLE, "", obstacle, requestId())
        : fault;
  }
}
