package io.dashgate;

import io.dashgate.v1.GenerationOptions;
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
  private static final CallSettings NONE =
      new CallSettings(null, null, null, new Metadata(), true);

  private final GenerationOptions options;
  private final String requestId;
  private final Duration timeout;
  private final Metadata metadata;
  private final boolean resume;

  private CallSettings(
      GenerationOptions options,
      String requestId,
      Duration timeout,
      Metadata metadata,
      boolean resume) {
    this.options = options;
    this.requestId = requestId;
    this.timeout = timeout;
    this.metadata = metadata;
    this.resume = resume;
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
    Objects.requireNonNull(options, "options");
    return new CallSettings(options, requestId, timeout, metadata, resume);
  }

  /**
   * Sets the request id (idempotency key): a second call with the same id and content returns the
   * same answer and is not billed. Default: a UUID, the same for all attempts.
   *
   * @param requestId at most 128 printable ASCII characters
   * @return these settings with the request id
   */
  public CallSettings requestId(String requestId) {
    Objects.requireNonNull(requestId, "requestId");
    return new CallSettings(options, requestId, timeout, metadata, resume);
  }

  /**
   * Sets the deadline of the whole call, including all attempts. Default: the client's.
   *
   * @param timeout more than zero
   * @return these settings with the deadline
   */
  public CallSettings timeout(Duration timeout) {
    Checks.positive(timeout, "timeout");
    return new CallSettings(options, requestId, timeout, metadata, resume);
  }

  /**
   * Adds a metadata entry, in addition to those of the client.
   *
   * @param name lower-case letters, digits, {@code -}, {@code _}, {@code .}
   * @param value printable ASCII
   * @return these settings with the entry
   */
  public CallSettings metadata(String name, String value) {
    Metadata more = new Metadata();
    more.merge(metadata);
    Checks.put(more, name, value);
    return new CallSettings(options, requestId, timeout, more, resume);
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
    return new CallSettings(options, requestId, timeout, metadata, resume);
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
