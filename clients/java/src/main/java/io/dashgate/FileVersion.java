package io.dashgate;

import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.util.Objects;

/** What identifies the content of a file: another file, or a changed one, has another version. */
final class FileVersion {
  /** Device and inode; null where the system has none. */
  private final Object key;

  private final long size;
  private final FileTime modified;

  FileVersion(BasicFileAttributes attributes) {
    this.key = attributes.fileKey();
    this.size = attributes.size();
    this.modified = attributes.lastModifiedTime();
  }

  long size() {
    return size;
  }

  /** Returns whether both are of the same file, which may have been changed. */
  boolean isSameFile(FileVersion other) {
    return Objects.equals(key, other.key);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof FileVersion
        && isSameFile((FileVersion) other)
        && size == ((FileVersion) other).size
        && modified.equals(((FileVersion) other).modified);
  }

  @Override
  public int hashCode() {
    return Objects.hash(key, size, modified);
  }
}
