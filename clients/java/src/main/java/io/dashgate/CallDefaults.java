package io.dashgate;

import java.time.Duration;

/** What a client uses for a call whose settings do not say otherwise. */
final class CallDefaults {
  /** Four heartbeats of the gateway. */
  static final Duration IDLE_TIMEOUT = Duration.ofSeconds(60);

  /**
   * The gateway's own timeout for DashScope is shorter, so this limit is for a gateway that hangs.
   */
  private static final Duration UNARY_TIMEOUT = Duration.ofMinutes(10);

  /** Null for the default of each kind of call. */
  private final Duration timeout;

  private final Duration idleTimeout;
  private final int maxRetries;

  CallDefaults(Duration timeout, Duration idleTimeout, int maxRetries) {
    this.timeout = timeout;
    this.idleTimeout = idleTimeout;
    this.maxRetries = maxRetries;
  }

  Duration unaryTimeout(CallSettings settings) {
    Duration set = streamTimeout(settings);
    return set == null ? UNARY_TIMEOUT : set;
  }

  /** Returns the timeout of a stream or a live session; null for none. */
  Duration streamTimeout(CallSettings settings) {
    return settings.timeout() == null ? timeout : settings.timeout();
  }

  IdleClock idleClock() {
    return new IdleClock(idleTimeout);
  }

  int maxRetries(CallSettings settings) {
    return settings.maxRetries() == null ? maxRetries : settings.maxRetries();
  }
}
