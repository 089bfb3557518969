package io.dashgate;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * The source of an upload, see {@link DashgateClient#upload(String, Upload)}. Immutable: each
 * method returns a copy.
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
   * Uploads a file, which is read in chunks.
   *
   * @param file the file; only the extension of its name is used
   * @return the upload
   */
  public static Upload of(Path file) {
    long size;
    try {
      size = Files.size(file);
    } catch (IOException e) {
      throw LocalFiles.unreadable(file, e);
    }
    Path name = file.getFileName();
    return new Upload(
        () -> open(file),
        OptionalLong.of(size),
        name == null ? "" : name.toString(),
        "");
  }

  /**
   * Uploads bytes.
   *
   * @param data the bytes of a file
   * @return the upload
   */
  public static Upload of(byte[] data) {
    return new Upload(
        () -> new ByteArrayInputStream(data), OptionalLong.of(data.length), "", "");
  }

  /**
   * Uploads a stream of bytes, for one upload only. It is read in chunks, by a thread of the
   * client, and closed.
   *
   * @param stream the bytes
   * @return the upload
   */
  public static Upload of(InputStream stream) {
    Objects.requireNonNull(stream, "stream");
    return new Upload(() -> stream, OptionalLong.empty(), "", "");
  }

  /**
   * Sets the MIME type.
   *
   * @param mimeType for example {@code video/mp4}; default: detected from the first bytes, then
   *     from the name's extension
   * @return this upload with the type
   */
  public Upload mimeType(String mimeType) {
    return new Upload(source, size, name, Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Sets the file's name, for its extension.
   *
   * @param name for example {@code video.mp4}
   * @return this upload with the name
   */
  public Upload name(String name) {
    return new Upload(source, size, Objects.requireNonNull(name, "name"), mimeType);
  }

  /**
   * Sets the number of bytes of a stream. The gateway rejects a wrong number.
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

  private static InputStream open(Path file) {
    try {
      return Files.newInputStream(file);
    } catch (IOException e) {
      throw LocalFiles.unreadable(file, e);
    }
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

  /** A source of bytes. */
  private interface Source {
    InputStream open() throws IOException;
  }
}
