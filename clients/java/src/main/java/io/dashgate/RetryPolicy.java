package io.dashgate;

import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.BooleanSupplier;

/**
 * The retry policy of {@code clients/service-config.json}, implemented here because grpc-java
 * retries any code if the server sends a pushback. A test compares the numbers with the file.
 *
 * <p>One for each client: many failures disable retries for all of its calls.
 */
final class RetryPolicy {
  static final int MAX_ATTEMPTS = 5;
  static final Duration INITIAL_BACKOFF = Duration.ofMillis(500);
  static final Duration MAX_BACKOFF = Duration.ofSeconds(10);
  static final double BACKOFF_MULTIPLIER = 2;
  static final Status.Code RETRYABLE = Status.Code.UNAVAILABLE;
  static final double MAX_TOKENS = 1000;
  static final double TOKEN_RATIO = 1000;

  /** The relative variation of a delay, so that clients do not retry at the same time. */
  private static final double JITTER = 0.2;

  /** Whether the client was closed, after which no attempt can succeed. */
  private final BooleanSupplier isClosed;

  private double tokens = MAX_TOKENS;

  RetryPolicy(BooleanSupplier isClosed) {
    this.isClosed = isClosed;
  }

  /** The delays of one call. */
  final class Pauses implements RetryRule {
    private int attempts = 1;
    private double backoffNanos = INITIAL_BACKOFF.toNanos();

    @Override
    public Optional<Duration> after(Status status, Metadata trailers) {
      if (status.getCode() != RETRYABLE || isClosed.getAsBoolean()) {
        return Optional.empty();
      }
      boolean allowed = take();
      Optional<Duration> pushback = ErrorDetails.pushback(trailers);
      if (!allowed || attempts >= MAX_ATTEMPTS) {
        return Optional.empty();
      }
      attempts++;
      if (pushback.isPresent()) {
        backoffNanos = INITIAL_BACKOFF.toNanos();
        return pushback.filter(delay -> !delay.isNegative());
      }
      double jitter = ThreadLocalRandom.current().nextDouble(1 - JITTER, 1 + JITTER);
      Duration pause = Duration.ofNanos((long) (backoffNanos * jitter));
      backoffNanos = Math.min(backoffNanos * BACKOFF_MULTIPLIER, MAX_BACKOFF.toNanos());
      return Optional.of(pause);
    }

    /** The stream is resumed, which is no retry. */
    @Override
    public boolean isLast(Metadata headers) {
      return StreamProgress.isAnnounced(headers);
    }

    @Override
    public void succeeded() {
      give();
    }
  }

  /** Records a successful call. */
  private synchronized void give() {
    tokens = Math.min(MAX_TOKENS, tokens + TOKEN_RATIO);
  }

  /** Records a failed attempt; returns whether the budget allows a retry. */
  private synchronized boolean take() {
    tokens = Math.max(0, tokens - 1);
    return tokens > MAX_TOKENS / 2;
  }
}
