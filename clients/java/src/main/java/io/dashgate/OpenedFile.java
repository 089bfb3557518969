package io.dashgate;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;

/** A regular file that is open. */
final class OpenedFile implements Closeable {
  private final InputStream stream;
  private final FileVersion version;

  OpenedFile(InputStream stream, FileVersion version) {
    this.stream = stream;
    this.version = version;
  }

  InputStream stream() {
    return stream;
  }

  FileVersion version() {
    return version;
  }

  @Override
  public void close() throws IOException {
    stream.close();
  }
}
