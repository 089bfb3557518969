package io.dashgate;

import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.function.Supplier;

/**
 * The source of an upload, see {@link DashgateClient#upload(String, Upload)}. Immutable: each
 * method returns a copy.
 */
public final class Upload {
  private final Supplier<UploadSource> source;
  /** The number of bytes that the caller set. */
  private final OptionalLong size;
  private final String name;
  private final String mimeType;

  private Upload(
      Supplier<UploadSource> source, OptionalLong size, String name, String mimeType) {
    this.source = source;
    this.size = size;
    this.name = name;
    this.mimeType = mimeType;
  }

  /**
   * Uploads a file, which is read in chunks. Anything but a regular file that can be read is an
   * {@link java.io.UncheckedIOException} with its path.
   *
   * @param file the file; only the extension of its name is used
   * @return the upload
   */
  public static Upload of(Path file) {
    // A path that cannot be read is an error before anything is sent.
    LocalFiles.version(file);
    return new Upload(
        () -> new UploadSource(() -> LocalFiles.open(file)), OptionalLong.empty(), name(file), "");
  }

  /** Uploads a large file of a message, which is open. */
  static Upload of(AttachedFile file, OpenedFile opened, String mimeType) {
    OptionalLong size = OptionalLong.of(opened.version().size());
    return new Upload(
        () -> new UploadSource(opened.stream(), size), size, name(file.path()), mimeType);
  }

  /**
   * Uploads bytes.
   *
   * @param data the bytes of a file
   * @return the upload
   */
  public static Upload of(byte[] data) {
    OptionalLong size = OptionalLong.of(data.length);
    return new Upload(
        () -> new UploadSource(new ByteArrayInputStream(data), size), OptionalLong.empty(), "", "");
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
    OptionalLong none = OptionalLong.empty();
    return new Upload(() -> new UploadSource(stream, none), none, "", "");
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

  UploadSource source() {
    return source.get();
  }

  private static String name(Path file) {
    Path name = file.getFileName();
    return name == null ? "" : name.toString();
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
}
