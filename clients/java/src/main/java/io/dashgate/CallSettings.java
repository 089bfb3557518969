package io.dashgate;

import io.dashgate.v1.GenerationOptions;
import io.dashgate.v1.HistoryPolicy;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.Objects;

/**
 * Options of one call. Immutable: each method returns a copy.
 *
 * <pre>{@code
 * CallSettings.create().timeout(Duration.ofSeconds(30)).requestId("order-17")
 * }</pre>
 */
public final class CallSettings {
  private static final CallSettings NONE = new CallSettings();

  // Written before a copy is returned, and not afterwards.
  private GenerationOptions options;
  private String requestId;
  private Duration timeout;
  private Metadata metadata = new Metadata();
  private boolean resume = true;
  private Integer maxRetries;
  private Integer expectedTurn;
  private HistoryPolicy history;

  private CallSettings() {}

  private CallSettings copy() {
    CallSettings copy = new CallSettings();
    copy.options = options;
    copy.requestId = requestId;
    copy.timeout = timeout;
    copy.metadata = metadata;
    copy.resume = resume;
    copy.maxRetries = maxRetries;
    copy.expectedTurn = expectedTurn;
    copy.history = history;
    return copy;
  }

  /**
   * Creates settings with the client's defaults.
   *
   * @return the settings
   */
  public static CallSettings create() {
    return NONE;
  }

  /**
   * Sets the generation options.
   *
   * @param options the options; unset fields are the model's defaults
   * @return these settings with the options
   */
  public CallSettings options(GenerationOptions options) {
    CallSettings copy = copy();
    copy.options = Objects.requireNonNull(options, "options");
    return copy;
  }

  /**
   * Sets the request id (idempotency key): a second call with the same id and content returns the
   * same answer and is not billed. Default: a UUID, the same for all attempts.
   *
   * @param requestId at most 128 printable ASCII characters; empty for the default
   * @return these settings with the request id
   */
  public CallSettings requestId(String requestId) {
    CallSettings copy = copy();
    copy.requestId = Objects.requireNonNull(requestId, "requestId").isEmpty() ? null : requestId;
    return copy;
  }

  /**
   * Sets the deadline of the whole call, including all attempts. Default: the client's.
   *
   * @param timeout more than zero
   * @return these settings with the deadline
   */
  public CallSettings timeout(Duration timeout) {
    CallSettings copy = copy();
    copy.timeout = Checks.positive(timeout, "timeout");
    return copy;
  }

  /**
   * Adds a metadata entry, in addition to those of the client.
   *
   * @param name lower-case letters, digits, {@code -}, {@code _}, {@code .}
   * @param value printable ASCII
   * @return these settings with the entry
   */
  public CallSettings metadata(String name, String value) {
    CallSettings copy = copy();
    copy.metadata = new Metadata();
    copy.metadata.merge(metadata);
    Checks.put(copy.metadata, name, value);
    return copy;
  }

  /**
   * Sets whether a stream whose connection is lost continues on another one, after the last event
   * that was received. Leaving such a stream also cancels the call by its request id, for all
   * streams that have the same. Default: true.
   *
   * @param resume false if several streams have this request id
   * @return these settings with the choice
   */
  public CallSettings resume(boolean resume) {
    CallSettings copy = copy();
    copy.resume = resume;
    return copy;
  }

  /**
   * Sets how often a call to a model is made again if it was throttled, see {@link
   * DashgateClientBuilder#maxRetries}. Default: the client's.
   *
   * @param maxRetries 0 or more
   * @return these settings with the number
   */
  public CallSettings maxRetries(int maxRetries) {
    CallSettings copy = copy();
    copy.maxRetries = Checks.notNegative(maxRetries, "maxRetries");
    return copy;
  }

  /**
   * Sets the latest turn of a stored conversation that the caller knows. If it has another one, the
   * call is {@code ABORTED} with {@code STALE_CONVERSATION}, and nothing is lost. Default: {@link
   * Conversation#lastTurn}.
   *
   * @param expectedTurn the number of the turn; 0 for no history
   * @return these settings with the number
   */
  public CallSettings expectedTurn(int expectedTurn) {
    CallSettings copy = copy();
    copy.expectedTurn = Checks.notNegative(expectedTurn, "expectedTurn");
    return copy;
  }

  /**
   * Sets which part of the history of a stored conversation is sent to the model. Default: the
   * latest 100 turns, with their media.
   *
   * @param history limits of turns, tokens and media
   * @return these settings with the limits
   */
  public CallSettings history(HistoryPolicy history) {
    CallSettings copy = copy();
    copy.history = Objects.requireNonNull(history, "history");
    return copy;
  }

  boolean resume() {
    return resume;
  }

  /** Null for the model's defaults. */
  GenerationOptions options() {
    return options;
  }

  /** Null if the client generates one. */
  String requestId() {
    return requestId;
  }

  /** Null for the client's. */
  Duration timeout() {
    return timeout;
  }

  /** Null for the client's. */
  Integer maxRetries() {
    return maxRetries;
  }

  /** Null for that of the conversation. */
  Integer expectedTurn() {
    return expectedTurn;
  }

  /** Null for the gateway's. */
  HistoryPolicy history() {
    return history;
  }

  Metadata metadata() {
    return metadata;
  }

  @Override
  public String toString() {
    // Metadata may contain secrets.
    return "CallSettings{requestId=" + requestId + ", timeout=" + timeout + ", metadata="
        + metadata.keys() + "}";
  }
}
