package io.dashgate;

import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Locale;

/** Reads {@code data:} URIs. */
final class DataUri {
  private static final String SCHEME = "data:";
  private static final String BASE64 = ";base64";

  private DataUri() {}

  static boolean is(String uri) {
    return uri.regionMatches(true, 0, SCHEME, 0, SCHEME.length());
  }

  /** Returns the bytes of a URI with its type; without one, the type is detected. */
  static Medium medium(JsonNode node, String uri, String kind) {
    int comma = uri.indexOf(',');
    if (comma < 0) {
      throw node.error("is a data: URI without a comma");
    }
    String head = uri.substring(SCHEME.length(), comma);
    String body = uri.substring(comma + 1);
    boolean isBase64 = head.toLowerCase(Locale.ROOT).endsWith(BASE64);
    byte[] data =
        isBase64
            ? base64(node, body)
            // A plus sign is itself in a URI.
            : URLDecoder.decode(body.replace("+", "%2B"), StandardCharsets.ISO_8859_1)
                .getBytes(StandardCharsets.ISO_8859_1);
    String type = isBase64 ? head.substring(0, head.length() - BASE64.length()) : head;
    return type.isEmpty() ? Medium.of(data, kind) : Medium.typed(data, type);
  }

  static byte[] base64(JsonNode node, String text) {
    try {
      return Base64.getMimeDecoder().decode(checked(text));
    } catch (IllegalArgumentException e) {
      throw node.error("is neither a URI nor base64");
    }
  }

  /** The decoder skips what is not base64; only white space may be skipped. */
  private static String checked(String text) {
    if (!text.chars().allMatch(DataUri::mayBeBase64)) {
      throw new IllegalArgumentException("not base64");
    }
    return text;
  }

  private static boolean mayBeBase64(int character) {
    return character < 128
        && (Character.isLetterOrDigit(character)
            || Character.isWhitespace(character)
            || "+/=".indexOf(character) >= 0);
  }
}
