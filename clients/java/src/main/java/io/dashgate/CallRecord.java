package io.dashgate;

import io.grpc.CallOptions;
import io.grpc.Status;
import java.time.Duration;

/** What is known of a call outside of its messages: for its errors and the log. */
final class CallRecord {
  /** The record of the call that an interceptor sees; null for those of generated stubs. */
  static final CallOptions.Key<CallRecord> OPTION = CallOptions.Key.create("dashgate-call");

  private final RunningCalls running;
  private final String method;
  private final String requestId;
  private volatile long startedAt;
  private volatile boolean isSent;
  /** The error of the latest attempt that did not reach the gateway, or null. */
  private volatile String unreached;
  /** While the call does not reach the gateway: its error, if it ends now; otherwise null. */
  private volatile String obstacle;

  CallRecord(RunningCalls running, String method, String requestId) {
    this.running = running;
    this.method = method;
    this.requestId = requestId;
  }

  String method() {
    return method;
  }

  String requestId() {
    return requestId;
  }

  void started(Exchange<?, ?> call) {
    startedAt = System.nanoTime();
    running.add(call);
  }

  /** Notes that the call has no end, because it could not be started. */
  void notStarted(Exchange<?, ?> call) {
    running.remove(call);
  }

  /** Notes the end; {@code fault} is null if the call succeeded. */
  void ended(Exchange<?, ?> call, DashgateException fault) {
    running.remove(call);
    running.log().ended(this, fault, System.nanoTime() - startedAt);
  }

  /** Notes that it is not known whether the call waits for a connection. */
  void sent() {
    isSent = true;
  }

  /** Notes that an attempt waits for a connection; {@code late} is its error if none is made. */
  void connecting(String late) {
    obstacle = unreached == null ? late : unreached;
  }

  /** Notes that an attempt has a connection. */
  void connected() {
    isSent = true;
    obstacle = null;
  }

  /** Notes the error of an attempt that did not reach the gateway, or lost it. */
  void failed(Status status) {
    unreached = ErrorDetails.message(status);
    obstacle = unreached;
  }

  /** Returns the error of a call that takes too long, if it did not reach the gateway; or null. */
  String obstacle() {
    return obstacle;
  }

  /** Whether the gateway may have the call. */
  boolean isSent() {
    return isSent;
  }

  void retrying(Status status, Duration delay) {
    running.log().retrying(this, status.getCode().name(), delay.toNanos());
  }

  void resuming(Status.Code code, Duration delay) {
    running.log().resuming(this, code.name(), delay.toNanos());
  }
}
