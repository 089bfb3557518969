package io.dashgate;

import io.grpc.CallOptions;
import java.time.Duration;
import java.util.function.LongSupplier;

/** When a stream that receives nothing has failed. */
final class IdleClock {
  /** The clock of the stream that a call is of; null for other calls. */
  static final CallOptions.Key<IdleClock> OPTION = CallOptions.Key.create("dashgate-idle");

  private final Duration limit;
  private final LongSupplier nanoTime;
  /** The stream is not idle before this time. */
  private volatile long pausedUntil;
  private volatile boolean isHeld;

  IdleClock(Duration limit) {
    this(limit, System::nanoTime);
  }

  IdleClock(Duration limit, LongSupplier nanoTime) {
    this.limit = limit;
    this.nanoTime = nanoTime;
    this.pausedUntil = nanoTime.getAsLong();
  }

  Duration limit() {
    return limit;
  }

  long now() {
    return nanoTime.getAsLong();
  }

  /** The client itself waits for this time. */
  void pause(Duration wait) {
    pausedUntil = now() + wait.toNanos();
  }

  /** The client itself waits until {@link #goOn}. */
  void hold() {
    isHeld = true;
  }

  void goOn() {
    pausedUntil = now();
    isHeld = false;
  }

  /** Returns the nanoseconds that are left if nothing was received since this time. */
  long left(long since) {
    if (isHeld) {
      return limit.toNanos();
    }
    long paused = pausedUntil;
    long start = since - paused > 0 ? since : paused;
    return limit.toNanos() - (now() - start);
  }
}
