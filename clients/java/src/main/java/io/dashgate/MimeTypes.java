package io.dashgate;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * Detects MIME types from the first bytes, then from the extension. A test compares the tables with
 * {@code tests/conformance/sniffing.json}, which documents the format.
 */
final class MimeTypes {
  /** The first matching rule decides; without types, the extension does. */
  static final List<Rule> RULES =
      List.of(
          new Rule("0:52494646 8:57415645", "audio/wav"),
          new Rule("0:52494658 8:57415645", "audio/wav"),
          new Rule("0:52463634 8:57415645", "audio/wav"),
          new Rule("0:42573634 8:57415645", "audio/wav"),
          new Rule("0:52494646 8:57454250", "image/webp"),
          new Rule("0:52494646 8:41564920", "video/x-msvideo"),
          new Rule("0:494433", "audio/mpeg"),
          new Rule("0:664c6143", "audio/flac"),
          new Rule("0:4f676753 28:807468656f7261", "video/ogg audio/ogg"),
          new Rule("0:4f676753", "audio/ogg video/ogg"),
          new Rule("0:2321414d522d5742", "audio/amr-wb"),
          new Rule("0:2321414d52", "audio/amr"),
          new Rule("0:232153494c4b", "audio/silk"),
          new Rule("0:02232153494c4b", "audio/silk"),
          new Rule("0:41444946", "audio/aac"),
          new Rule("0:fff0/fff6", "audio/aac"),
          new Rule("0:fffe 3:00 5:00", "text/plain"),
          new Rule("0:ffe8/fff8", ""),
          new Rule("0:ffe0/ffe6", ""),
          new Rule("0:ffe0f0/ffe0f0", ""),
          new Rule("0:ffe00c/ffe00c", ""),
          new Rule("0:fffe00/fffef0", ""),
          new Rule("0:ffe0/ffe0", "audio/mpeg"),
          new Rule("4:66747970 8-60:61766966", "image/avif"),
          new Rule("4:66747970 8-60:61766973", "image/avif"),
          new Rule("4:66747970 8:686569", "image/heic"),
          new Rule("4:66747970 8:686576", "image/heic"),
          new Rule("4:66747970 8:6d696631", "image/heic"),
          new Rule("4:66747970 8:6d696632", "image/heic"),
          new Rule("4:66747970 8:6d736631", "image/heic"),
          new Rule("4:66747970 8:4d3441", "audio/mp4 video/mp4"),
          new Rule("4:66747970 8:4d3442", "audio/mp4 video/mp4"),
          new Rule("4:66747970 8:4d3450", "audio/mp4 video/mp4"),
          new Rule("4:66747970 8:463441", "audio/mp4 video/mp4"),
          new Rule("4:66747970 8:463442", "audio/mp4 video/mp4"),
          new Rule("4:66747970 8:336732", "video/3gpp2 audio/3gpp2"),
          new Rule("4:66747970 8:336770", "video/3gpp audio/3gpp"),
          new Rule("4:66747970 8:336765", "video/3gpp audio/3gpp"),
          new Rule("4:66747970 8:336767", "video/3gpp audio/3gpp"),
          new Rule("4:66747970 8:336772", "video/3gpp audio/3gpp"),
          new Rule("4:66747970 8:336773", "video/3gpp audio/3gpp"),
          new Rule("4:66747970 8:717420", "video/quicktime"),
          new Rule("4:66747970", "video/mp4 audio/mp4"),
          new Rule("4:6d6f6f76", "video/quicktime"),
          new Rule("4:77696465", "video/quicktime"),
          new Rule("0:89504e470d0a1a0a", "image/png"),
          new Rule("0:ffd8ff", "image/jpeg"),
          new Rule("0:47494638", "image/gif"),
          new Rule("0:424d 6:00000000", "image/bmp"),
          new Rule("0:49492a00", "image/tiff"),
          new Rule("0:4d4d002a", "image/tiff"),
          new Rule("0:49492b00", "image/tiff"),
          new Rule("0:4d4d002b", "image/tiff"),
          new Rule("0:00000100 5:00 9:00 18:0600/0f00 20:0000", "image/x-icon"),
          new Rule("0:1a45dfa3 4-64:6d6174726f736b61", "video/x-matroska audio/x-matroska"),
          new Rule("0:1a45dfa3", "video/webm audio/webm"),
          new Rule("0:464c56", "video/x-flv"),
          new Rule("0:47 188:47 376:47", "video/mp2t"),
          new Rule("4:47 196:47 388:47", "video/mp2t"),
          new Rule("0:000001ba", "video/mpeg"),
          new Rule("0:000001b3", "video/mpeg"),
          new Rule("0:464f524d 8:41494646", "audio/aiff"),
          new Rule("0:464f524d 8:41494643", "audio/aiff"),
          new Rule("0:63616666 4:0001", "audio/x-caf"),
          new Rule("0:2e736e64", "audio/basic"),
          new Rule("0:3026b2758e66cf11", "video/x-ms-wmv audio/x-ms-wma"),
          new Rule("0-256:3c737667", "image/svg+xml"),
          new Rule("0-64:3c21444f4354595045/ffffdfdfdfdfdfdfdf", "text/html"),
          new Rule("0-64:3c48544d4c/ffdfdfdfdf", "text/html"),
          new Rule("0-64:3c3f786d6c", "text/xml"),
          new Rule("0:7b22 2-64:223a", "application/json"),
          new Rule("0:7b0a 2-64:223a", "application/json"),
          new Rule("0:25504446", "application/pdf"),
          new Rule("0:504b0304", "application/zip"),
          new Rule("0:1f8b08", "application/gzip"));

  static final Map<String, String> EXTENSIONS =
      Map.ofEntries(
          Map.entry("wav", "audio/wav"),
          Map.entry("wave", "audio/wav"),
          Map.entry("rf64", "audio/wav"),
          Map.entry("bwf", "audio/wav"),
          Map.entry("mp3", "audio/mpeg"),
          Map.entry("mp2", "audio/mpeg"),
          Map.entry("mpga", "audio/mpeg"),
          Map.entry("flac", "audio/flac"),
          Map.entry("ogg", "audio/ogg video/ogg"),
          Map.entry("oga", "audio/ogg"),
          Map.entry("opus", "audio/opus"),
          Map.entry("spx", "audio/ogg"),
          Map.entry("amr", "audio/amr"),
          Map.entry("awb", "audio/amr-wb"),
          Map.entry("aac", "audio/aac"),
          Map.entry("adts", "audio/aac"),
          Map.entry("m4a", "audio/mp4 video/mp4"),
          Map.entry("m4b", "audio/mp4 video/mp4"),
          Map.entry("pcm", "audio/pcm"),
          Map.entry("wma", "audio/x-ms-wma video/x-ms-wmv"),
          Map.entry("aif", "audio/aiff"),
          Map.entry("aiff", "audio/aiff"),
          Map.entry("aifc", "audio/aiff"),
          Map.entry("caf", "audio/x-caf"),
          Map.entry("au", "audio/basic"),
          Map.entry("weba", "audio/webm"),
          Map.entry("mka", "audio/x-matroska"),
          Map.entry("silk", "audio/silk"),
          Map.entry("slk", "audio/silk"),
          Map.entry("png", "image/png"),
          Map.entry("jpg", "image/jpeg"),
          Map.entry("jpeg", "image/jpeg"),
          Map.entry("jfif", "image/jpeg"),
          Map.entry("gif", "image/gif"),
          Map.entry("bmp", "image/bmp"),
          Map.entry("webp", "image/webp"),
          Map.entry("tif", "image/tiff"),
          Map.entry("tiff", "image/tiff"),
          Map.entry("heic", "image/heic"),
          Map.entry("heif", "image/heic"),
          Map.entry("avif", "image/avif"),
          Map.entry("ico", "image/x-icon"),
          Map.entry("svg", "image/svg+xml"),
          Map.entry("mp4", "video/mp4 audio/mp4"),
          Map.entry("m4v", "video/mp4 audio/mp4"),
          Map.entry("mov", "video/quicktime"),
          Map.entry("avi", "video/x-msvideo"),
          Map.entry("mkv", "video/x-matroska audio/x-matroska"),
          Map.entry("webm", "video/webm audio/webm"),
          Map.entry("flv", "video/x-flv"),
          Map.entry("wmv", "video/x-ms-wmv audio/x-ms-wma"),
          Map.entry("asf", "video/x-ms-wmv audio/x-ms-wma"),
          Map.entry("3gp", "video/3gpp audio/3gpp"),
          Map.entry("3gpp", "video/3gpp audio/3gpp"),
          Map.entry("3g2", "video/3gpp2 audio/3gpp2"),
          Map.entry("ts", "video/mp2t"),
          Map.entry("m2ts", "video/mp2t"),
          Map.entry("mts", "video/mp2t"),
          Map.entry("mpg", "video/mpeg audio/mpeg"),
          Map.entry("mpeg", "video/mpeg audio/mpeg"),
          Map.entry("ogv", "video/ogg audio/ogg"));

  private MimeTypes() {}

  /** Returns the type for a part of this kind; empty if unknown, then the gateway detects it. */
  static String of(byte[] data, String name, String kind) {
    int dot = name.lastIndexOf('.');
    String extension = dot < 0 ? "" : name.substring(dot + 1).toLowerCase(Locale.ROOT);
    String named = EXTENSIONS.getOrDefault(extension, "");
    String part = kind.isEmpty() ? topLevel(named) : kind;
    String found = "";
    for (Rule rule : RULES) {
      if (rule.holds(data)) {
        found = rule.types;
        break;
      }
    }
    String[] types = (found.isEmpty() ? named : found).split(" ");
    for (String type : types) {
      if (topLevel(type).equals(part)) {
        return type;
      }
    }
    return types[0];
  }

  private static String topLevel(String type) {
    return type.substring(0, Math.max(type.indexOf('/'), 0));
  }

  /** Conditions and the types that they imply. */
  static final class Rule {
    final String match;

    final String types;
    private final List<Condition> conditions;

    Rule(String match, String types) {
      this.match = match;
      this.types = types;
      this.conditions =
          Arrays.stream(match.split(" ")).map(Condition::new).collect(Collectors.toList());
    }

    private boolean holds(byte[] data) {
      return conditions.stream().allMatch(condition -> condition.holds(data));
    }
  }

  /** {@code OFFSET:HEX}, {@code OFFSET-LAST:HEX} or {@code OFFSET:HEX/MASK}. */
  private static final class Condition {
    private final int first;
    private final int last;
    private final byte[] bytes;
    private final byte[] mask;

    Condition(String text) {
      String[] halves = text.split(":");
      String[] places = halves[0].split("-");
      String[] patterns = halves[1].split("/");
      first = Integer.parseInt(places[0]);
      last = Integer.parseInt(places[places.length - 1]);
      bytes = unhex(patterns[0]);
      String all = "ff".repeat(bytes.length);
      mask = unhex(patterns.length > 1 ? patterns[1] : all);
    }

    private static byte[] unhex(String digits) {
      byte[] bytes = new byte[digits.length() / 2];
      for (int at = 0; at < bytes.length; at++) {
        bytes[at] = (byte) Integer.parseInt(digits.substring(2 * at, 2 * at + 2), 16);
      }
      return bytes;
    }

    private boolean holds(byte[] data) {
      for (int at = first; at <= last; at++) {
        if (holdsAt(data, at)) {
          return true;
        }
      }
      return false;
    }

    private boolean holdsAt(byte[] data, int at) {
      if (data.length < at + bytes.length) {
        return false;
      }
      for (int i = 0; i < bytes.length; i++) {
        if ((byte) (data[at + i] & mask[i]) != bytes[i]) {
          return false;
        }
      }
      return true;
    }
  }
}
