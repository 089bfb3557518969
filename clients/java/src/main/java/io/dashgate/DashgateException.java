package io.dashgate;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.BadRequest.FieldViolation;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import io.dashgate.v1.CallFailure;
import io.dashgate.v1.ErrorReason;
import io.dashgate.v1.Usage;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
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

  /** The time before a retry; null if it is not known. */
  private final Duration retryAfter;

  /** Whether the same call may succeed later. */
  private final boolean retryable;

  private final transient Metadata trailers;

  /** Initial metadata and trailers; set before the exception is thrown. */
  private TextHeaders headers;

  /** Set before the exception is thrown. */
  private boolean outputStarted;

  /** What arrived of a stream; set before the exception is thrown. */
  private transient Answer partial;

  /** The usage of an earlier stream of the session; set before the exception is thrown. */
  private Usage earlierUsage;

  private DashgateException(
      Status status,
      com.google.rpc.Status details,
      ErrorReason ownReason,
      Metadata trailers,
      String sentRequestId) {
    super(ErrorDetails.message(status), status.getCause());
    this.code = status.getCode();
    this.status = details;
    this.trailers = trailers;
    this.headers = TextHeaders.of(trailers);
    this.failure = ErrorDetails.first(details, CallFailure.class).orElse(null);
    this.reason = failure == null ? ownReason : failure.getReason();
    this.rawReason =
        ErrorDetails.first(details, ErrorInfo.class).map(ErrorInfo::getReason).orElse("");
    this.outputStarted = failure != null && failure.getOutputStarted();
    this.requestId =
        ErrorDetails.first(details, RequestInfo.class)
            .map(RequestInfo::getRequestId)
            .filter(id -> !id.isEmpty())
            .orElse(sentRequestId);
    this.retryAfter = ErrorDetails.retryAfter(details, trailers).orElse(null);
    this.retryable =
        retryAfter != null
            || code == Status.Code.UNAVAILABLE
                && rawReason.isEmpty()
                && !ErrorDetails.forbidsRetry(trailers);
  }

  /** An error of the gateway, a proxy or the gRPC library. */
  static DashgateException from(Status status, Metadata trailers, String sentRequestId) {
    Metadata known = trailers == null ? new Metadata() : trailers;
    com.google.rpc.Status details = ErrorDetails.of(status, known);
    if (status.getCode() == Status.Code.DEADLINE_EXCEEDED && details.getDetailsCount() == 0) {
      // The deadline ended here, before that of the gateway: the cause is the same.
      return own(details, status, ErrorReason.DEADLINE_EXCEEDED.name(), known, sentRequestId);
    }
    return new DashgateException(
        status, details, ErrorReason.ERROR_REASON_UNSPECIFIED, known, sentRequestId);
  }

  /** An error that this library detects. Its reason need not be one of {@link ErrorReason}. */
  static DashgateException own(
      Status.Code code, String reason, String message, String sentRequestId) {
    com.google.rpc.Status plain =
        com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage(message).build();
    Status status = code.toStatus().withDescription(message);
    return own(plain, status, reason, new Metadata(), sentRequestId);
  }

  private static DashgateException own(
      com.google.rpc.Status plain,
      Status status,
      String reason,
      Metadata trailers,
      String sentRequestId) {
    ErrorInfo info = ErrorInfo.newBuilder().setReason(reason).setDomain(DOMAIN).build();
    return new DashgateException(
        status,
        plain.toBuilder().addDetails(Any.pack(info)).build(),
        ErrorDetails.reasonOf(reason),
        trailers,
        sentRequestId);
  }

  /** Sets that a part of the answer was produced. */
  void outputHasStarted() {
    outputStarted = true;
  }

  /** Adds what a stream had received. */
  void received(AnswerFold events, TextHeaders metadata) {
    outputStarted |= events.hasOutput();
    partial = events.isEmpty() ? null : events.answer(metadata);
  }

  /** Adds the initial metadata of the response. */
  void initialMetadata(Metadata metadata) {
    headers = headers.after(metadata);
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
   * Returns what arrived of a stream before it failed, as {@link AnswerStream#partial}.
   *
   * @return the answer so far; empty if nothing arrived, and after serialization
   */
  public Optional<Answer> partial() {
    return Optional.ofNullable(partial);
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
   * Returns whether the same call may succeed later: after {@link #retryAfter}, or, for a gateway
   * that cannot be reached, after a time that is not known.
   *
   * @return false if the request, or something at the gateway, has to be changed first
   */
  public boolean retryable() {
    return retryable;
  }

  /**
   * Returns the time to wait before a retry.
   *
   * @return the time; empty if it is not known: see {@link #retryable}
   */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /**
   * Returns the invalid fields of the request.
   *
   * @return the fields; empty if there are none
   */
  public List<FieldViolation> fieldViolations() {
    return ErrorDetails.first(status, BadRequest.class)
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
   * Returns the metadata of the response: the initial metadata and the trailers.
   *
   * @return the texts by their names in lower case; binary metadata is left out
   */
  public Map<String, String> headers() {
    return headers.asMap();
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
    if (!rawReason.isEmpty() && !rawReason.equals(code.name())) {
      text.append(' ').append(rawReason);
    }
    // Without a description, the message is the code.
    if (!getMessage().equals(code.name())) {
      text.append(": ").append(getMessage());
    }
    if (!requestId.isEmpty() && !getMessage().contains(requestId)) {
      text.append(" (request id ").append(requestId).append(')');
    }
    return text.toString();
  }
}
