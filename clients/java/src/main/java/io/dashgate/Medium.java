package io.dashgate;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.List;

/** The source of a medium: a URI, or bytes and their MIME type. */
final class Medium {
  /** Larger files are uploaded before the call. */
  private static final long LARGE = 4L * 1024 * 1024;

  /** As many bytes as a rule for a MIME type needs. */
  private static final int HEAD = 1024;

  private static final List<String> SCHEMES = List.of("http:", "https:", "oss:", "data:");

  /** Null for bytes. */
  final String uri;
  /** Null for a URI. */
  final ByteString data;

  private final String detected;

  private Medium(String uri, ByteString data, String detected) {
    this.uri = uri;
    this.data = data;
    this.detected = detected;
  }

  static Medium of(String pathOrUri, String kind) {
    return isUri(pathOrUri)
        ? new Medium(pathOrUri, null, "")
        : of(LocalFiles.path(pathOrUri), kind);
  }

  static Medium of(Path file, String kind) {
    try (OpenedFile opened = LocalFiles.open(file)) {
      return opened.version().size() > LARGE
          ? attached(file, opened, kind)
          : owned(opened.stream().readAllBytes(), file.toString(), kind);
    } catch (IOException e) {
      throw LocalFiles.unreadable(file, e);
    }
  }

  static Medium of(InputStream stream, String kind) {
    try {
      return owned(stream.readAllBytes(), "", kind);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read the stream of the " + kind + ": " + e, e);
    }
  }

  static Medium of(byte[] data, String kind) {
    return owned(data.clone(), "", kind);
  }

  /** A medium of this type; if that is empty, it is detected. */
  static Medium typed(byte[] data, String mimeType, String kind) {
    return mimeType.isEmpty()
        ? of(data, kind)
        : new Medium(null, ByteString.copyFrom(data), mimeType);
  }

  /** Returns whether a text is a URI that is sent, and not a path. */
  static boolean isUri(String text) {
    return SCHEMES.stream()
        .anyMatch(scheme -> text.regionMatches(true, 0, scheme, 0, scheme.length()));
  }

  String mimeType(String given) {
    return given == null ? detected : given;
  }

  private static Medium attached(Path file, OpenedFile opened, String kind) throws IOException {
    String type = MimeTypes.of(opened.stream().readNBytes(HEAD), file.toString(), kind);
    return new Medium(AttachedFiles.ALL.attach(file, opened.version()), null, type);
  }

  /** A medium of an array that is not shared, so it needs no copy. */
  private static Medium owned(byte[] data, String name, String kind) {
    return new Medium(
        null, UnsafeByteOperations.unsafeWrap(data), MimeTypes.of(data, name, kind));
  }
}
