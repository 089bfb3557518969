package io.dashgate;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * A file to be put where DashScope's models can reach it, see {@link DashgateClient#upload(String,
 * Upload)}. A value: each method gives another one.
 */
public final class Upload {
  private final Source source;
  private final OptionalLong size;
  private final String name;
  private final String mimeType;

  private Upload(Source source, OptionalLong size, String name, String mimeType) {
    this.source = source;
    this.size = size;
    this.name = name;
    this.mimeType = mimeType;
  }

  /**
   * A file. It is read in pieces while it is sent.
   *
   * @param file the file; only the extension of its name is used
   * @return the upload
   */
  public static Upload of(Path file) {
    long size;
    try {
      size = Files.size(file);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
    Path name = file.getFileName();
    return new Upload(
        () -> Files.newInputStream(file),
        OptionalLong.of(size),
        name == null ? "" : name.toString(),
        "");
  }

  /**
   * Bytes.
   *
   * @param data the bytes of a file
   * @return the upload
   */
  public static Upload of(byte[] data) {
    return new Upload(
        () -> new ByteArrayInputStream(data), OptionalLong.of(data.length), "", "");
  }

  /**
   * A stream of bytes, for one upload alone. It is read in pieces, by a thread of the client's, and
   * closed.
   *
   * @param stream the bytes
   * @return the upload
   */
  public static Upload of(InputStream stream) {
    Objects.requireNonNull(stream, "stream");
    return new Upload(() -> stream, OptionalLong.empty(), "", "");
  }

  /**
   * What it is.
   *
   * @param mimeType for example {@code video/mp4}; without one it is told by the first bytes, else
   *     by the name's extension
   * @return this upload with the type
   */
  public Upload mimeType(String mimeType) {
    return new Upload(source, size, name, Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * The file's name, for its extension.
   *
   * @param name for example {@code holiday.mp4}
   * @return this upload with the name
   */
  public Upload name(String name) {
    return new Upload(source, size, Objects.requireNonNull(name, "name"), mimeType);
  }

  /**
   * How many bytes will come, where a stream cannot tell. A wrong number is refused.
   *
   * @param bytes the number
   * @return this upload with the size
   */
  public Upload size(long bytes) {
    return new Upload(source, OptionalLong.of(bytes), name, mimeType);
  }

  InputStream open() throws IOException {
    return source.open();
  }

  OptionalLong size() {
    return size;
  }

  String name() {
    return name;
  }

  String mimeType() {
    return mimeType;
  }

  /** Where the bytes come from. */
  private interface Source {
    InputStream open() throws IOException;
  }
}
