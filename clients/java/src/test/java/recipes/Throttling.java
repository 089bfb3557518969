package recipes;

import io.dashgate.Answer;
import io.dashgate.CallSettings;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateClientBuilder;
import io.dashgate.DashgateException;
import java.time.Duration;
import java.util.Optional;

/** Lives with rate limits. */
public final class Throttling {
  private Throttling() {}

  // region client
  /** A client whose calls wait as often as the gateway asks them to, for two minutes at most. */
  public static DashgateClient patient(DashgateClientBuilder builder) {
    return builder.maxRetries(5).timeout(Duration.ofMinutes(2)).build();
  }
  // endregion

  // region call
  /** Asks without waiting; empty if the question is to be put into a queue for later. */
  public static Optional<Answer> askNow(DashgateClient client, Conversation conversation) {
    try {
      return Optional.of(client.converse(conversation, CallSettings.create().maxRetries(0)));
    } catch (DashgateException e) {
      if (e.retryable()) {
        return Optional.empty(); // e.retryAfter() is the time, if it is known.
      }
      throw e;
    }
  }
  // endregion
}
