package io.dashgate;

import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.Optional;

/** Decides about the retries of one call. */
interface RetryRule {
  /** Returns the delay before the next attempt; empty if there is none. */
  Optional<Duration> after(Status status, Metadata trailers);

  /** Returns whether an attempt that received these headers is the last one. */
  boolean isLast(Metadata headers);

  /** Records that the call succeeded. */
  void succeeded();
}
