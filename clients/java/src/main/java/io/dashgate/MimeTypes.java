package io.dashgate;

import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Tells what a medium is: by its first bytes, else by the name's extension. A test holds the tables
 * equal to {@code tests/conformance/sniffing.json}.
 */
final class MimeTypes {
  private static final int ANY = -1;

  /** The first that fits holds. */
  static final List<Magic> MAGIC =
      List.of(
          new Magic("52494646........57415645", "audio/wav"),
          new Magic("52494646........57454250", "image/webp"),
          new Magic("52494646........41564920", "video/x-msvideo"),
          new Magic("494433", "audio/mpeg"),
          new Magic("664c6143", "audio/flac"),
          new Magic("4f676753", "audio/ogg"),
          new Magic("2321414d52", "audio/amr"),
          new Magic("fff1", "audio/aac"),
          new Magic("fff9", "audio/aac"),
          new Magic("fffb", "audio/mpeg"),
          new Magic("fffa", "audio/mpeg"),
          new Magic("fff3", "audio/mpeg"),
          new Magic("fff2", "audio/mpeg"),
          new Magic("........667479704d3441", "audio/mp4"),
          new Magic("........6674797068656963", "image/heic"),
          new Magic("........667479707174", "video/quicktime"),
          new Magic("........66747970", "video/mp4"),
          new Magic("89504e470d0a1a0a", "image/png"),
          new Magic("ffd8ff", "image/jpeg"),
          new Magic("47494638", "image/gif"),
          new Magic("424d", "image/bmp"),
          new Magic("49492a00", "image/tiff"),
          new Magic("4d4d002a", "image/tiff"),
          new Magic("1a45dfa3", "video/webm"),
          new Magic("464c5601", "video/x-flv"));

  static final Map<String, String> EXTENSIONS =
      Map.ofEntries(
          Map.entry("wav", "audio/wav"),
          Map.entry("mp3", "audio/mpeg"),
          Map.entry("flac", "audio/flac"),
          Map.entry("ogg", "audio/ogg"),
          Map.entry("opus", "audio/opus"),
          Map.entry("amr", "audio/amr"),
          Map.entry("aac", "audio/aac"),
          Map.entry("m4a", "audio/mp4"),
          Map.entry("pcm", "audio/pcm"),
          Map.entry("png", "image/png"),
          Map.entry("jpg", "image/jpeg"),
          Map.entry("jpeg", "image/jpeg"),
          Map.entry("gif", "image/gif"),
          Map.entry("bmp", "image/bmp"),
          Map.entry("webp", "image/webp"),
          Map.entry("tif", "image/tiff"),
          Map.entry("tiff", "image/tiff"),
          Map.entry("heic", "image/heic"),
          Map.entry("mp4", "video/mp4"),
          Map.entry("mov", "video/quicktime"),
          Map.entry("avi", "video/x-msvideo"),
          Map.entry("mkv", "video/x-matroska"),
          Map.entry("webm", "video/webm"),
          Map.entry("flv", "video/x-flv"));

  private MimeTypes() {}

  /** The type, or nothing: then the gateway tells. */
  static String of(byte[] data, String name) {
    for (Magic magic : MAGIC) {
      if (magic.fits(data)) {
        return magic.mimeType;
      }
    }
    int dot = name.lastIndexOf('.');
    String extension = dot < 0 ? "" : name.substring(dot + 1).toLowerCase(Locale.ROOT);
    return EXTENSIONS.getOrDefault(extension, "");
  }

  /** The bytes that a kind of file begins with. */
  static final class Magic {
    /** In hex; {@code ..} is any byte. */
    final String pattern;

    final String mimeType;
    private final int[] bytes;

    Magic(String pattern, String mimeType) {
      this.pattern = pattern;
      this.mimeType = mimeType;
      this.bytes = new int[pattern.length() / 2];
      for (int at = 0; at < bytes.length; at++) {
        String two = pattern.substring(2 * at, 2 * at + 2);
        bytes[at] = two.equals("..") ? ANY : Integer.parseInt(two, 16);
      }
    }

    private boolean fits(byte[] data) {
      if (data.length < bytes.length) {
        return false;
      }
      for (int at = 0; at < bytes.length; at++) {
        if (bytes[at] != ANY && bytes[at] != Byte.toUnsignedInt(data[at])) {
          return false;
        }
      }
      return true;
    }
  }
}
