package io.dashgate;

import io.dashgate.v1.GenerationOptions;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.Objects;

/**
 * What one call has of its own. A value: each method gives another one.
 *
 * <pre>{@code
 * CallSettings.create().timeout(Duration.ofSeconds(30)).requestId("order-17")
 * }</pre>
 */
public final class CallSettings {
  private static final CallSettings NONE =
      new CallSettings(null, null, null, new Metadata());

  private final GenerationOptions options;
  private final String requestId;
  private final Duration timeout;
  private final Metadata metadata;

  private CallSettings(
      GenerationOptions options, String requestId, Duration timeout, Metadata metadata) {
    this.options = options;
    this.requestId = requestId;
    this.timeout = timeout;
    this.metadata = metadata;
  }

  /**
   * Nothing but the client's defaults.
   *
   * @return the settings to begin with
   */
  public static CallSettings create() {
    return NONE;
  }

  /**
   * How the model should answer.
   *
   * @param options the options; those not set are the model's
   * @return these settings with the options
   */
  public CallSettings options(GenerationOptions options) {
    Objects.requireNonNull(options, "options");
    return new CallSettings(options, requestId, timeout, metadata);
  }

  /**
   * The name of the call. A call with the same name and content is done once, however often it is
   * made. Without one the client makes a UUID.
   *
   * @param requestId at most 128 printable ASCII characters
   * @return these settings with the name
   */
  public CallSettings requestId(String requestId) {
    Objects.requireNonNull(requestId, "requestId");
    return new CallSettings(options, requestId, timeout, metadata);
  }

  /**
   * The deadline of the whole call, from now to the last word of the answer.
   *
   * @param timeout more than zero
   * @return these settings with the deadline
   */
  public CallSettings timeout(Duration timeout) {
    return new CallSettings(options, requestId, Checks.positive(timeout, "timeout"), metadata);
  }

  /**
   * One more entry of metadata, beside those of the client.
   *
   * @param name lower-case letters, digits, {@code -}, {@code _}, {@code .}
   * @param value printable ASCII
   * @return these settings with the entry
   */
  public CallSettings metadata(String name, String value) {
    Metadata more = new Metadata();
    more.merge(metadata);
    Checks.put(more, name, value);
    return new CallSettings(options, requestId, timeout, more);
  }

  /** Null if the model's own hold. */
  GenerationOptions options() {
    return options;
  }

  /** Null if the client shall make one. */
  String requestId() {
    return requestId;
  }

  /** Null if the client's holds. */
  Duration timeout() {
    return timeout;
  }

  Metadata metadata() {
    return metadata;
  }

  @Override
  public String toString() {
    // Values of metadata may be secrets.
    return "CallSettings{requestId=" + requestId + ", timeout=" + timeout + ", metadata="
        + metadata.keys() + "}";
  }
}
