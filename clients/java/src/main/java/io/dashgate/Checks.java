package io.dashgate;

import io.grpc.Metadata;
import java.time.Duration;
import java.util.Objects;

/** Checks of arguments; the messages never contain a value that may be a secret. */
final class Checks {
  private static final Duration FOR_EVER = Duration.ofDays(36_500);

  private Checks() {}

  /** Returns a duration that has nanoseconds: at most a hundred years, which is for ever. */
  static Duration limited(Duration duration) {
    return duration.compareTo(FOR_EVER) > 0 ? FOR_EVER : duration;
  }

  static Duration positive(Duration duration, String name) {
    Objects.requireNonNull(duration, name);
    if (duration.isZero() || duration.isNegative()) {
      throw new IllegalArgumentException(name + " must be more than zero, not " + duration);
    }
    return limited(duration);
  }

  static int notNegative(int number, String name) {
    if (number < 0) {
      throw new IllegalArgumentException(name + " must be 0 or more, not " + number);
    }
    return number;
  }

  static String printable(String value, String name) {
    Objects.requireNonNull(value, name);
    if (!value.chars().allMatch(character -> character >= ' ' && character <= '~')) {
      throw new IllegalArgumentException(
          name + " holds a character that is not printable ASCII, a line break perhaps");
    }
    return value;
  }

  static void put(Metadata metadata, String name, String value) {
    Objects.requireNonNull(name, "name");
    metadata.put(
        Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER),
        printable(value, "the metadata " + name));
  }
}
