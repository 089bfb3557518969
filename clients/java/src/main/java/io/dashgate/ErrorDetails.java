package io.dashgate;

import com.google.protobuf.Any;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.RetryInfo;
import io.dashgate.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Optional;

/** Reads the details of a status. */
final class ErrorDetails {
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  private ErrorDetails() {}

  /** Returns the status with its details. Without details, it has the code and the message. */
  static com.google.rpc.Status of(Status status, Metadata trailers) {
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

  /** Returns the description and, if the call did not reach the gateway, why. */
  static String message(Status status) {
    String message = status.getDescription();
    // The cause has the address; the description is only "io exception".
    Throwable cause = status.getCause();
    if (cause == null) {
      return message == null ? status.getCode().name() : message;
    }
    String why = message(cause);
    if (message == null) {
      return why;
    }
    return message.contains(why) ? message : message + ": " + why;
  }

  /** Returns the message; that of a socket that is not there has none. */
  static String message(Throwable cause) {
    return cause.getMessage() == null ? cause.toString() : cause.getMessage();
  }

  /** Returns the first detail of this type, unless it cannot be decoded. */
  static <T extends Message> Optional<T> first(com.google.rpc.Status status, Class<T> type) {
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

  /** Returns the reason of this name; unspecified if this version does not define it. */
  static ErrorReason reasonOf(String name) {
    EnumValueDescriptor value = ErrorReason.getDescriptor().findValueByName(name);
    return value == null ? ErrorReason.ERROR_REASON_UNSPECIFIED : ErrorReason.valueOf(value);
  }

  /** Returns the time of RetryInfo, otherwise of a pushback that is a number. */
  static Optional<Duration> retryAfter(com.google.rpc.Status details, Metadata trailers) {
    Optional<RetryInfo> info = first(details, RetryInfo.class);
    if (info.isPresent() && info.get().hasRetryDelay()) {
      com.google.protobuf.Duration delay = info.get().getRetryDelay();
      return Optional.of(Duration.ofSeconds(delay.getSeconds(), delay.getNanos()));
    }
    return pushback(trailers).filter(delay -> !delay.isNegative());
  }

  /** Returns whether the server said not to retry: a pushback that is negative or invalid. */
  static boolean forbidsRetry(Metadata trailers) {
    return pushback(trailers).filter(Duration::isNegative).isPresent();
  }

  /** Returns the pushback, negative if it is invalid; empty without one. */
  static Optional<Duration> pushback(Metadata trailers) {
    String text = trailers.get(PUSHBACK);
    if (text == null) {
      return Optional.empty();
    }
    try {
      return Optional.of(Duration.ofMillis(Integer.parseInt(text)));
    } catch (NumberFormatException e) {
      return Optional.of(Duration.ofMillis(-1));
    }
  }
}
