package io.dashgate;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Checks that a text is one JSON value as RFC 8259 has it. The libraries below also accept
 * comments, names without quotes, and anything after the value.
 */
final class JsonText {
  /** How deep values may be in each other: as deep as the protobuf library reads them. */
  static final int MAX_DEPTH = 100;

  private static final Pattern NUMBER =
      Pattern.compile("-?(?:0|[1-9][0-9]*+)(?:\\.[0-9]++)?(?:[eE][+-]?[0-9]++)?");
  private static final Pattern ESCAPE = Pattern.compile("\\\\(?:[\"\\\\/bfnrt]|u[0-9a-fA-F]{4})");

  private final String text;
  private int at;
  private int depth;

  private JsonText(String text) {
    this.text = text;
  }

  /** Throws an error with the position if the text is not JSON. */
  static void check(String place, String text) {
    JsonText json = new JsonText(text == null ? "" : text);
    if (!json.isValue() || json.at < json.text.length()) {
      throw new IllegalArgumentException(place + ": is no JSON" + json.position());
    }
  }

  private String position() {
    String before = text.substring(0, at);
    int line = 1 + (int) before.chars().filter(it -> it == '\n').count();
    int column = at - before.lastIndexOf('\n');
    return text.isEmpty() ? "" : ", see line " + line + " column " + column;
  }

  /** Skips a value and the space around it. Returns false at what is no JSON. */
  private boolean isValue() {
    skipSpace();
    boolean isValue;
    switch (at < text.length() ? text.charAt(at) : ' ') {
      case '{':
        isValue = isInside('}');
        break;
      case '[':
        isValue = isInside(']');
        break;
      case '"':
        isValue = isString();
        break;
      default:
        isValue = isWord("true") || isWord("false") || isWord("null") || isMatch(NUMBER);
        break;
    }
    skipSpace();
    return isValue;
  }

  /** Skips the members or items of an object or a list, and its end. */
  private boolean isInside(char end) {
    if (depth == MAX_DEPTH) {
      return false;
    }
    depth++;
    at++;
    skipSpace();
    boolean isFirst = true;
    while (!isSkipped(end)) {
      if (!isFirst && !isSkipped(',')) {
        return false;
      }
      isFirst = false;
      if (end == '}' && !isName() || !isValue()) {
        return false;
      }
    }
    depth--;
    return true;
  }

  private boolean isName() {
    skipSpace();
    if (at == text.length() || text.charAt(at) != '"' || !isString()) {
      return false;
    }
    skipSpace();
    return isSkipped(':');
  }

  private boolean isString() {
    at++;
    while (at < text.length() && text.charAt(at) >= ' ') {
      if (isSkipped('"')) {
        return true;
      }
      if (text.charAt(at) != '\\') {
        at++;
      } else if (!isMatch(ESCAPE)) {
        return false;
      }
    }
    return false;
  }

  private boolean isMatch(Pattern pattern) {
    Matcher matcher = pattern.matcher(text).region(at, text.length());
    boolean isMatch = matcher.lookingAt();
    at = isMatch ? matcher.end() : at;
    return isMatch;
  }

  private boolean isWord(String word) {
    boolean isWord = text.startsWith(word, at);
    at += isWord ? word.length() : 0;
    return isWord;
  }

  private boolean isSkipped(char expected) {
    boolean isThere = at < text.length() && text.charAt(at) == expected;
    at += isThere ? 1 : 0;
    return isThere;
  }

  private void skipSpace() {
    while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
  }
}
