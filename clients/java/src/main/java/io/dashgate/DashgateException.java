package io.dashgate;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.BadRequest.FieldViolation;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A call that failed.
 *
 * <p>{@link #code} says what to do next, {@link #reason} what happened exactly; the gateway's page
 * of errors lists them all. A call that was cancelled has the code {@code CANCELLED}.
 */
public final class DashgateException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private static final String DOMAIN = "dashgate";
  private static final Metadata.Key<String> PUSHBACK = ascii("grpc-retry-pushback-ms");
  private static final Metadata.Key<String> UPSTREAM_REQUEST_ID = ascii("x-dashscope-request-id");
  private static final long NEVER = -1;

  /** What to do next. */
  private final Status.Code code;

  /** All details that came. */
  private final com.google.rpc.Status status;

  /** Those of them that tell what happened. */
  private final ErrorInfo info;

  /** DashScope's name of the call. */
  private final String upstreamRequestId;

  /** The name of the call. */
  private final String requestId;

  /** How long to wait, or below zero for ever. */
  private final long retryAfterMillis;

  private final transient Metadata trailers;

  private DashgateException(
      Status status, com.google.rpc.Status details, Metadata trailers, String sentRequestId) {
    super(message(status), status.getCause());
    this.code = status.getCode();
    this.status = details;
    this.trailers = trailers;
    this.info = detail(details, ErrorInfo.getDefaultInstance());
    String traced = trailers.get(UPSTREAM_REQUEST_ID);
    this.upstreamRequestId =
        info.getMetadataOrDefault("upstream_request_id", traced == null ? "" : traced);
    String named = detail(details, RequestInfo.getDefaultInstance()).getRequestId();
    this.requestId = named.isEmpty() ? sentRequestId : named;
    this.retryAfterMillis = retryAfterMillis(details, trailers);
  }

  /** What the gateway, a proxy or the gRPC library said. */
  static DashgateException from(Status status, Metadata trailers, String sentRequestId) {
    Metadata known = trailers == null ? new Metadata() : trailers;
    return new DashgateException(status, details(status, known), known, sentRequestId);
  }

  /** What this library itself found wrong. */
  static DashgateException own(
      Status.Code code, String reason, String message, String sentRequestId) {
    com.google.rpc.Status details =
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage(message)
            .addDetails(
                Any.pack(ErrorInfo.newBuilder().setReason(reason).setDomain(DOMAIN).build()))
            .build();
    Status status = code.toStatus().withDescription(message);
    return new DashgateException(status, details, new Metadata(), sentRequestId);
  }

  /**
   * What to do next.
   *
   * @return gRPC's code
   */
  public Status.Code code() {
    return code;
  }

  /**
   * What happened, for example {@code UPSTREAM_RATE}.
   *
   * @return the reason; empty when the gRPC library or a proxy made the error
   */
  public String reason() {
    return info.getReason();
  }

  /**
   * DashScope's own code.
   *
   * @return for example {@code Throttling.RateQuota}; empty if DashScope said nothing
   */
  public String upstreamCode() {
    return info.getMetadataOrDefault("upstream_code", "");
  }

  /**
   * DashScope's HTTP status.
   *
   * @return the status, if DashScope answered
   */
  public OptionalInt upstreamHttpStatus() {
    return told("upstream_http_status");
  }

  /**
   * DashScope's name of the call, for its support.
   *
   * @return the name; empty if DashScope said nothing
   */
  public String upstreamRequestId() {
    return upstreamRequestId;
  }

  /**
   * How often the gateway asked DashScope.
   *
   * @return the number, if the gateway told it
   */
  public OptionalInt attempts() {
    return told("attempts");
  }

  /**
   * The name of the call, in the gateway's log too.
   *
   * @return what the gateway calls it, or else the name that was sent
   */
  public String requestId() {
    return requestId;
  }

  /**
   * How long to wait before the next call.
   *
   * @return the time; empty means: do not call again
   */
  public Optional<Duration> retryAfter() {
    return retryAfterMillis == NEVER
        ? Optional.empty()
        : Optional.of(Duration.ofMillis(retryAfterMillis));
  }

  /**
   * The fields of the request that are wrong, and how.
   *
   * @return the fields; empty if it is not a matter of fields
   */
  public List<FieldViolation> fieldViolations() {
    return detail(status, BadRequest.getDefaultInstance()).getFieldViolationsList();
  }

  /**
   * The raw status with all its details.
   *
   * @return the status
   */
  public com.google.rpc.Status status() {
    return status;
  }

  /**
   * The metadata that came with the error.
   *
   * @return a copy; empty after serialization
   */
  public Metadata trailers() {
    Metadata copy = new Metadata();
    if (trailers != null) {
      copy.merge(trailers);
    }
    return copy;
  }

  @Override
  public String toString() {
    StringBuilder text = new StringBuilder(DashgateException.class.getName());
    text.append(": ").append(code);
    if (!reason().isEmpty()) {
      text.append(' ').append(reason());
    }
    text.append(": ").append(getMessage());
    if (!requestId.isEmpty()) {
      text.append(" (request ").append(requestId).append(')');
    }
    return text.toString();
  }

  private static String message(Status status) {
    String description = status.getDescription();
    String message = description == null ? status.getCode().name() : description;
    // "io exception" alone helps nobody: the cause says which address refused.
    Throwable cause = status.getCause();
    return cause == null || cause.getMessage() == null
        ? message
        : message + ": " + cause.getMessage();
  }

  private static com.google.rpc.Status details(Status status, Metadata trailers) {
    try {
      com.google.rpc.Status found = StatusProto.fromStatusAndTrailers(status, trailers);
      if (found != null) {
        return found;
      }
    } catch (IllegalArgumentException e) {
      // Details that cannot be read: the status itself is still worth telling.
    }
    return com.google.rpc.Status.newBuilder()
        .setCode(status.getCode().value())
        .setMessage(message(status))
        .build();
  }

  private static <T extends Message> T detail(com.google.rpc.Status status, T absent) {
    for (Any detail : status.getDetailsList()) {
      @SuppressWarnings("unchecked") // The class of a message is the class of the message.
      Class<T> type = (Class<T>) absent.getClass();
      if (detail.is(type)) {
        try {
          return detail.unpack(type);
        } catch (InvalidProtocolBufferException e) {
          return absent;
        }
      }
    }
    return absent;
  }

  private static long retryAfterMillis(com.google.rpc.Status details, Metadata trailers) {
    RetryInfo info = detail(details, RetryInfo.getDefaultInstance());
    if (info.hasRetryDelay()) {
      com.google.protobuf.Duration delay = info.getRetryDelay();
      return Duration.ofSeconds(delay.getSeconds(), delay.getNanos()).toMillis();
    }
    String pushback = trailers.get(PUSHBACK);
    return pushback == null ? NEVER : number(pushback);
  }

  /** A number of 0 or more, else -1. */
  private static int number(String text) {
    try {
      return Math.max(-1, Integer.parseInt(text));
    } catch (NumberFormatException e) {
      return -1;
    }
  }

  private OptionalInt told(String name) {
    int number = number(info.getMetadataOrDefault(name, ""));
    return number < 0 ? OptionalInt.empty() : OptionalInt.of(number);
  }

  private static Metadata.Key<String> ascii(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
