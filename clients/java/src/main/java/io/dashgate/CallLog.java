package io.dashgate;

import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * The log of a client, which the variable {@code DASHGATE_LOG} switches on. Lines have no content,
 * no keys and no messages, and go to the logger {@code io.dashgate}. All have the level INFO: the
 * variable decides, and the logging of Java hides lower levels by default.
 */
final class CallLog {
  /** The name of the variable. */
  static final String VARIABLE = "DASHGATE_LOG";

  private static final System.Logger LOGGER = System.getLogger("io.dashgate");

  /** How much is logged of a text that comes from elsewhere. */
  private static final int MAX_CHARACTERS = 200;

  private static final Pattern CONTROL = Pattern.compile("[\\p{Cc}\\p{Zl}\\p{Zp}]");

  private final Level level;
  private final String target;

  /** How much is logged. */
  enum Level {
    OFF,
    /** The end of each call. */
    INFO,
    /** Also retries, resumed streams and connections. */
    DEBUG;

    /** Returns the level of a value of the variable; null and unknown values are OFF. */
    static Level of(String value) {
      switch (value == null ? "" : value.toLowerCase(Locale.ROOT)) {
        case "info":
          return INFO;
        case "debug":
          return DEBUG;
        default:
          return OFF;
      }
    }
  }

  CallLog(Level level, String target) {
    this.level = level;
    this.target = target;
  }

  /** Logs the end of a call; {@code fault} is null if it succeeded. */
  void ended(CallRecord call, DashgateException fault, long nanos) {
    if (level != Level.OFF) {
      String status =
          fault == null ? "OK" : (fault.code() + " " + foreign(fault.rawReason())).trim();
      write(call.method() + " " + status + " " + millis(nanos) + ", " + of(call));
    }
  }

  void retrying(CallRecord call, String status, long nanos) {
    if (level == Level.DEBUG) {
      write(call.method() + " retry in " + millis(nanos) + " after " + status + ", " + of(call));
    }
  }

  void resuming(CallRecord call, String status, long nanos) {
    if (level == Level.DEBUG) {
      write(call.method() + " resume in " + millis(nanos) + " after " + status + ", " + of(call));
    }
  }

  /** Logs that the pool opens a connection; the first has the number 1. */
  void connecting(int number) {
    if (level == Level.DEBUG) {
      write("connection " + number + ", " + target);
    }
  }

  private String of(CallRecord call) {
    return "request id " + foreign(call.requestId()) + ", " + target;
  }

  private static String millis(long nanos) {
    return TimeUnit.NANOSECONDS.toMillis(nanos) + " ms";
  }

  /** Returns what is logged of a text that comes from elsewhere. */
  static String foreign(String text) {
    return text.codePoints()
        .limit(MAX_CHARACTERS)
        .mapToObj(it -> it >= ' ' && it <= '~' ? String.valueOf((char) it) : "?")
        .collect(Collectors.joining());
  }

  /** Returns a text without line ends and other control characters. */
  static String line(String text) {
    return CONTROL.matcher(text).replaceAll("?");
  }

  private static void write(String line) {
    // An address must not begin a new line.
    LOGGER.log(System.Logger.Level.INFO, "dashgate: " + line(line));
  }
}
