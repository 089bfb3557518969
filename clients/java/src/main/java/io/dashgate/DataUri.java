package io.dashgate;

import java.io.ByteArrayOutputStream;
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

  /** Returns the bytes of a URI with its type; without one, with the other. */
  static Medium medium(JsonNode node, String uri, String kind, String otherType) {
    int comma = uri.indexOf(',');
    if (comma < 0) {
      throw node.error("is a data: URI without a comma");
    }
    String head = uri.substring(SCHEME.length(), comma);
    String body = uri.substring(comma + 1);
    boolean isBase64 = head.toLowerCase(Locale.ROOT).endsWith(BASE64);
    byte[] data =
        isBase64
            ? base64(node, body, "is a data: URI whose data is no base64")
            : unescaped(node, body);
    String type = isBase64 ? head.substring(0, head.length() - BASE64.length()) : head;
    // Parameters may follow a type that is left out.
    boolean isTyped = !type.isEmpty() && !type.startsWith(";");
    return Medium.typed(data, isTyped ? type : otherType, kind);
  }

  /** Decodes base64 with or without padding. */
  static byte[] base64(JsonNode node, String text, String otherwise) {
    byte[] data;
    try {
      data = Base64.getDecoder().decode(text);
    } catch (IllegalArgumentException e) {
      throw node.error(otherwise);
    }
    return checked(node, data);
  }

  /** Returns the bytes of a text with escapes; what is not escaped is UTF-8. */
  private static byte[] unescaped(JsonNode node, String text) {
    byte[] escaped = text.getBytes(StandardCharsets.UTF_8);
    ByteArrayOutputStream data = new ByteArrayOutputStream(escaped.length);
    for (int at = 0; at < escaped.length; at++) {
      if (escaped[at] != '%') {
        data.write(escaped[at]);
        continue;
      }
      int high = at + 2 < escaped.length ? Character.digit(escaped[at + 1], 16) : -1;
      int low = at + 2 < escaped.length ? Character.digit(escaped[at + 2], 16) : -1;
      if (high < 0 || low < 0) {
        throw node.error("is a data: URI with % and no two hexadecimal digits");
      }
      data.write(high << 4 | low);
      at += 2;
    }
    return checked(node, data.toByteArray());
  }

  private static byte[] checked(JsonNode node, byte[] data) {
    if (data.length == 0) {
      throw node.error("has no data");
    }
    return data;
  }
}
