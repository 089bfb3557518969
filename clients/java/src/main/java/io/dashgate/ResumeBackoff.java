package io.dashgate;

import io.grpc.Deadline;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** How often, and after which delays, live sessions and streams are resumed. */
final class ResumeBackoff {
  /**
   * Consecutive attempts without an event in between. Their delays add up to 6 seconds; the gateway
   * keeps a session for 30, and a stream for 15.
   */
  static final int ATTEMPTS = 6;

  private static final long FIRST_DELAY_MILLIS = 100;
  private static final long LONGEST_DELAY_MILLIS = 5000;
  /** Many lose their connection at the same time. */
  private static final double JITTER = 0.25;

  private ResumeBackoff() {}

  /** Returns the milliseconds until the next attempt, after so many. */
  static long delayMillis(int attempts, DashgateException error) {
    double spread = 1 - JITTER + 2 * JITTER * ThreadLocalRandom.current().nextDouble();
    long delay = Math.min(FIRST_DELAY_MILLIS << attempts, LONGEST_DELAY_MILLIS);
    long asked = error.retryAfter().map(Checks::limited).map(Duration::toMillis).orElse(0L);
    return Math.min(Math.max((long) (delay * spread), asked), LONGEST_DELAY_MILLIS);
  }

  /**
   * Returns the delay, or what is left of the deadline if that is less: the next attempt reports
   * that it is over. Less than a millisecond counts as one, because an attempt in what is left
   * would have no time for a connection. The deadline may be null.
   */
  static long inTime(long delay, Deadline deadline) {
    if (deadline == null) {
      return Math.max(delay, 0);
    }
    long left = TimeUnit.NANOSECONDS.toMillis(deadline.timeRemaining(TimeUnit.NANOSECONDS)) + 1;
    return Math.max(Math.min(delay, left), 0);
  }
}
