package io.dashgate;

import io.grpc.Status;
import java.time.Duration;

/** Rules for all streams. */
final class StreamRules {
  private StreamRules() {}

  static DashgateException idle(Exchange<?, ?> exchange, Duration limit) {
    return exchange.expire(
        "STREAM_IDLE",
        "nothing came for " + limit.toMillis() + " ms, the idle timeout of the client");
  }

  static DashgateException truncated(String requestId) {
    return DashgateException.own(
        Status.Code.INTERNAL,
        "STREAM_TRUNCATED",
        "the stream ended well, but without its last event, Completed",
        requestId);
  }
}
