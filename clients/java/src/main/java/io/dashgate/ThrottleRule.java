package io.dashgate;

import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Consumer;

/** Retries a call that was throttled, after the time that the gateway names. */
final class ThrottleRule implements RetryRule {
  /** Callers that were throttled at the same time do not return at the same time. */
  private static final double JITTER = 0.1;

  private final Consumer<Duration> waiting;
  private int left;

  /**
   * The rule of one call.
   *
   * @param maxRetries how often the call is made again
   * @param waiting receives the delay before each retry
   */
  ThrottleRule(int maxRetries, Consumer<Duration> waiting) {
    this.left = maxRetries;
    this.waiting = waiting;
  }

  @Override
  public Optional<Duration> after(Status status, Metadata trailers) {
    if (status.getCode() != Status.Code.RESOURCE_EXHAUSTED || left == 0) {
      return Optional.empty();
    }
    Optional<Duration> delay =
        ErrorDetails.retryAfter(ErrorDetails.of(status, trailers), trailers)
            .map(ThrottleRule::spread);
    if (delay.isPresent()) {
      left--;
      waiting.accept(delay.get());
    }
    return delay;
  }

  /** A stream is throttled before its first event, whatever its headers are. */
  @Override
  public boolean isLast(Metadata headers) {
    return false;
  }

  @Override
  public void succeeded() {
    // Throttling has no budget besides the number of retries.
  }

  private static Duration spread(Duration delay) {
    double factor = 1 + JITTER * ThreadLocalRandom.current().nextDouble();
    return Duration.ofNanos((long) (Checks.limited(delay).toNanos() * factor));
  }
}
