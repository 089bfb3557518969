package io.dashgate;

import com.google.protobuf.Any;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.BadRequest.FieldViolation;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import com.google.rpc.RetryInfo;
import io.dashgate.v1.CallFailure;
import io.dashgate.v1.ErrorReason;
import io.dashgate.v1.Usage;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * The error of a failed call.
 *
 * <p>{@link #code} determines how to react, {@link #reason} is the cause; {@code docs/errors.md} of
 * the gateway lists both. A cancelled call has the code {@code CANCELLED}.
 */
public final class DashgateException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private static final String DOMAIN = "dashgate";
  private static final Metadata.Key<String> PUSHBACK = ascii("grpc-retry-pushback-ms");
  private static final long NEVER = -1;

  /** The gRPC code. */
  private final Status.Code code;

  /** The raw status with its details. */
  private final com.google.rpc.Status status;

  /** The reason, if this version defines it. */
  private final ErrorReason reason;

  /** The reason as text. */
  private final String rawReason;

  /** The gateway's own detail; null if it did not create the error. */
  private final CallFailure failure;

  /** The gateway's request id, otherwise the one that was sent. */
  private final String requestId;

  /** The time before a retry, or {@link #NEVER}. */
  private final long retryAfterMillis;

  private final transient Metadata trailers;

  /** Set before the exception is thrown. */
  private boolean outputStarted;

  /** The usage of an earlier stream of the session; set before the exception is thrown. */
  private Usage earlierUsage;

  private DashgateException(
      Status status,
      com.google.rpc.Status details,
      ErrorReason ownReason,
      Metadata trailers,
      String sentRequestId) {
    super(message(status), status.getCause());
    this.code = status.getCode();
    this.status = details;
    this.trailers = trailers;
    this.failure = detail(details, CallFailure.class).orElse(null);
    this.reason = failure == null ? ownReason : failure.getReason();
    this.rawReason = detail(details, ErrorInfo.class).map(ErrorInfo::getReason).orElse("");
    this.outputStarted = failure != null && failure.getOutputStarted();
    this.requestId =
        detail(details, RequestInfo.class)
            .map(RequestInfo::getRequestId)
            .filter(id -> !id.isEmpty())
            .orElse(sentRequestId);
    this.retryAfterMillis = retryAfterMillis(details, trailers);
  }

  /** An error of the gateway, a proxy or the gRPC library. */
  static DashgateException from(Status status, Metadata trailers, String sentRequestId) {
    Metadata known = trailers == null ? new Metadata() : trailers;
    return new DashgateException(
        status, details(status, known), ErrorReason.ERROR_REASON_UNSPECIFIED, known, sentRequestId);
  }

  /** An error that this library detects. Its reason need not be one of {@link ErrorReason}. */
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
    return new DashgateException(
        status, details, reasonOf(reason), new Metadata(), sentRequestId);
  }

  /** Marks the error of a stream that had received a part of the answer. */
  void outputHasStarted() {
    outputStarted = true;
  }

  /** Sets the usage of an earlier stream of the session; the error's own is preferred. */
  void usageBefore(Usage usage) {
    earlierUsage = usage;
  }

  /**
   * Returns the gRPC code.
   *
   * @return the code
   */
  public Status.Code code() {
    return code;
  }

  /**
   * Returns the cause.
   *
   * @return the reason; {@code ERROR_REASON_UNSPECIFIED} if the gateway did not create the error,
   *     {@code UNRECOGNIZED} if it is newer than this library
   */
  public ErrorReason reason() {
    return reason;
  }

  /**
   * Returns the reason as text, for example {@code UPSTREAM_RATE}. {@code STREAM_IDLE} and {@code
   * TOOL_ROUNDS} are created by this library only, and have no value of {@link ErrorReason}.
   *
   * @return the text; empty if the gRPC library created the error
   */
  public String rawReason() {
    return rawReason;
  }

  /**
   * Returns the usage of the call until it failed, as counted by DashScope.
   *
   * @return the usage; empty if DashScope reported none
   */
  public Optional<Usage> usage() {
    return failure == null || !failure.hasUsage()
        ? Optional.ofNullable(earlierUsage)
        : Optional.of(failure.getUsage());
  }

  /**
   * Returns whether a part of the answer was produced: reported by the gateway, or received by this
   * stream.
   *
   * @return true if it was; a retry is then billed again
   */
  public boolean outputStarted() {
    return outputStarted;
  }

  /**
   * Returns DashScope's error code.
   *
   * @return for example {@code Throttling.RateQuota}; empty if DashScope sent none
   */
  public String upstreamCode() {
    return failure == null ? "" : failure.getUpstreamCode();
  }

  /**
   * Returns the HTTP status of DashScope's response.
   *
   * @return the status; empty if DashScope sent none
   */
  public OptionalInt upstreamHttpStatus() {
    return failure == null || !failure.hasUpstreamHttpStatus()
        ? OptionalInt.empty()
        : OptionalInt.of(failure.getUpstreamHttpStatus());
  }

  /**
   * Returns DashScope's request id, for its support.
   *
   * @return the id; empty if DashScope sent none
   */
  public String upstreamRequestId() {
    return failure == null ? "" : failure.getUpstreamRequestId();
  }

  /**
   * Returns how many requests were sent to DashScope.
   *
   * @return the number; empty if the gateway did not create the error
   */
  public OptionalInt attempts() {
    return failure == null ? OptionalInt.empty() : OptionalInt.of(failure.getAttempts());
  }

  /**
   * Returns the model that was called, after the gateway's mapping.
   *
   * @return the model; empty if it is not known
   */
  public String model() {
    return failure == null ? "" : failure.getModel();
  }

  /**
   * Returns the request id, as in the gateway's log.
   *
   * @return the gateway's, otherwise the one that was sent
   */
  public String requestId() {
    return requestId;
  }

  /**
   * Returns the time to wait before a retry.
   *
   * @return the time; empty means: do not retry
   */
  public Optional<Duration> retryAfter() {
    return retryAfterMillis == NEVER
        ? Optional.empty()
        : Optional.of(Duration.ofMillis(retryAfterMillis));
  }

  /**
   * Returns the invalid fields of the request.
   *
   * @return the fields; empty if there are none
   */
  public List<FieldViolation> fieldViolations() {
    return detail(status, BadRequest.class)
        .map(BadRequest::getFieldViolationsList)
        .orElse(List.of());
  }

  /**
   * Returns the raw status with all its details.
   *
   * @return the status
   */
  public com.google.rpc.Status status() {
    return status;
  }

  /**
   * Returns the metadata that was received with the error.
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
    if (!rawReason.isEmpty()) {
      text.append(' ').append(rawReason);
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
    // The cause has the address; the description is only "io exception".
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
      // Details that cannot be decoded: code and message are still valid.
    }
    return com.google.rpc.Status.newBuilder()
        .setCode(status.getCode().value())
        .setMessage(message(status))
        .build();
  }

  /** Returns the first detail of this type, unless it cannot be decoded. */
  private static <T extends Message> Optional<T> detail(
      com.google.rpc.Status status, Class<T> type) {
    for (Any detail : status.getDetailsList()) {
      if (detail.is(type)) {
        try {
          return Optional.of(detail.unpack(type));
        } catch (InvalidProtocolBufferException e) {
          return Optional.empty();
        }
      }
    }
    return Optional.empty();
  }

  private static ErrorReason reasonOf(String name) {
    EnumValueDescriptor value = ErrorReason.getDescriptor().findValueByName(name);
    return value == null ? ErrorReason.ERROR_REASON_UNSPECIFIED : ErrorReason.valueOf(value);
  }

  private static long retryAfterMillis(com.google.rpc.Status details, Metadata trailers) {
    Optional<RetryInfo> info = detail(details, RetryInfo.class);
    if (info.isPresent() && info.get().hasRetryDelay()) {
      com.google.protobuf.Duration delay = info.get().getRetryDelay();
      return Duration.ofSeconds(delay.getSeconds(), delay.getNanos()).toMillis();
    }
    String pushback = trailers.get(PUSHBACK);
    return pushback == null ? NEVER : number(pushback);
  }

  /** Parses a number; -1 if it is negative or invalid. */
  private static int number(String text) {
    try {
      return Math.max(-1, Integer.parseInt(text));
    } catch (NumberFormatException e) {
      return -1;
    }
  }

  private static Metadata.Key<String> ascii(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
