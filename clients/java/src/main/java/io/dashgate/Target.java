package io.dashgate;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The address: {@code host:port}, {@code http://}, {@code https://}, {@code unix:}. */
final class Target {
  /** The port of a gateway. */
  private static final int PORT = 50051;

  /** The default address of gateway and clients. */
  static final String DEFAULT = "127.0.0.1:" + PORT;

  private static final String FORMS =
      "host, host:port, http://host:port, https://host:port, dns:///host:port and unix:/path";
  private static final String UNIX = "unix:";
  private static final int HTTPS_PORT = 443;
  private static final int MAX_PORT = 65535;

  /** A pattern, because java.net.URI rejects host names with an underscore. */
  private static final Pattern AUTHORITY =
      Pattern.compile("(?<host>\\[[0-9A-Fa-f:.%]+]|[^:/?#,\\[\\]]+)(:(?<port>[^:/?#,]*))?");

  private static final Pattern NUMBER = Pattern.compile("[0-9]{1,5}");

  private final String text;
  /** Null for `host:port` and a Unix socket. */
  private final String scheme;
  private final String host;
  private final int port;

  private Target(String text, String scheme, String host, int port) {
    this.text = text;
    this.scheme = scheme;
    this.host = host;
    this.port = port;
  }

  static Target parse(String text) {
    boolean isUnix = text.startsWith(UNIX);
    if (text.contains("@") && !isUnix) {
      // The address is logged, and a password would be logged with it.
      throw new IllegalArgumentException("the target holds a user or a password; use apiKey");
    }
    if (text.codePoints().anyMatch(it -> isControl(it) || isSpace(it) && !isUnix)) {
      throw wrong(text, "holds a space, a line end or another control character");
    }
    return isUnix ? parseUnix(text) : parseNetwork(text);
  }

  private static Target parseUnix(String text) {
    String path = text.substring(UNIX.length());
    // What follows two slashes is an authority, which there is none of.
    if (path.isEmpty() || path.startsWith("//") && !path.startsWith("///")) {
      throw wrong(text, "has no path; write unix:/path/to/socket");
    }
    return new Target(text, null, null, -1);
  }

  private static Target parseNetwork(String text) {
    for (String named : new String[] {"dns", "ipv4", "ipv6"}) {
      if (text.startsWith(named + ":")) {
        return parseNamed(text, named);
      }
    }
    int mark = text.indexOf("://");
    String scheme = mark < 0 ? null : text.substring(0, mark).toLowerCase(Locale.ROOT);
    if (scheme != null && !scheme.equals("http") && !scheme.equals("https")) {
      throw wrong(text, "has an unknown scheme; accepted are " + FORMS);
    }
    String authority = mark < 0 ? text : text.substring(mark + "://".length());
    if (scheme != null && authority.endsWith("/")) {
      authority = authority.substring(0, authority.length() - 1);
    }
    Matcher parts = AUTHORITY.matcher(authority);
    if (!parts.matches()) {
      throw wrong(text, "is none of the accepted forms " + FORMS);
    }
    String given = parts.group("port");
    int port = "https".equals(scheme) ? HTTPS_PORT : PORT;
    if (given != null) {
      port = NUMBER.matcher(given).matches() ? Integer.parseInt(given) : -1;
    }
    if (port < 0 || port > MAX_PORT) {
      throw wrong(text, "has a port that is no number up to " + MAX_PORT);
    }
    return new Target(text, scheme, parts.group("host"), port);
  }

  /** Parses a target in gRPC's own syntax: a name that resolves to addresses, or one address. */
  private static Target parseNamed(String text, String named) {
    String rest = text.substring(named.length() + 1);
    if (named.equals("dns") && rest.startsWith("///")) {
      rest = rest.substring("///".length());
    }
    if (rest.contains(",") || rest.contains("/")) {
      throw wrong(text, "is not one address; for many write dns:///host:port");
    }
    Target place = parse(rest);
    if (place.isUnix()) {
      throw wrong(text, "has two schemes");
    }
    return new Target(text, named.equals("dns") ? named : null, place.host, place.port);
  }

  /** Returns whether calls are balanced over the addresses of a name. */
  boolean isSpread() {
    return "dns".equals(scheme);
  }

  /** Returns whether it is on this machine, where no proxy is used. */
  boolean isLoopback() {
    if (isUnix()) {
      return true;
    }
    String name = host.toLowerCase(Locale.ROOT);
    return name.equals("localhost")
        || name.endsWith(".localhost")
        || name.equals("[::1]")
        || name.matches("127\\.[0-9]+\\.[0-9]+\\.[0-9]+");
  }

  boolean isUnix() {
    return host == null;
  }

  boolean saysPlaintext() {
    return "http".equals(scheme);
  }

  boolean saysTls() {
    return "https".equals(scheme);
  }

  String host() {
    return host;
  }

  int port() {
    return port;
  }

  @Override
  public String toString() {
    return text;
  }

  private static boolean isSpace(int letter) {
    return Character.isWhitespace(letter) || Character.isSpaceChar(letter);
  }

  private static boolean isControl(int letter) {
    return Character.isISOControl(letter) || letter == '\u2028' || letter == '\u2029';
  }

  private static IllegalArgumentException wrong(String text, String what) {
    return new IllegalArgumentException("the target \"" + CallLog.line(text) + "\" " + what);
  }
}
