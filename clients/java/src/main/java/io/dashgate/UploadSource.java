package io.dashgate;

import java.io.IOException;
import java.io.InputStream;
import java.util.OptionalLong;

/** The bytes of one upload: opened and read by one thread, and closed by any. */
final class UploadSource {
  /** Null if the stream is known. */
  private final Opening opening;
  // Guarded by this.
  private InputStream stream;
  private OptionalLong size;
  private boolean isClosed;

  /** A file that is opened when the upload begins. */
  UploadSource(Opening opening) {
    this.opening = opening;
    this.size = OptionalLong.empty();
  }

  /** A stream that is open. */
  UploadSource(InputStream stream, OptionalLong size) {
    this.opening = null;
    this.stream = stream;
    this.size = size;
  }

  /** Opens a file. */
  @FunctionalInterface
  interface Opening {
    OpenedFile open() throws IOException;
  }

  /** Returns the bytes. */
  InputStream open() throws IOException {
    OpenedFile opened = opening == null ? null : opening.open();
    synchronized (this) {
      if (opened != null) {
        stream = opened.stream();
        size = OptionalLong.of(opened.version().size());
      }
      if (!isClosed) {
        return stream;
      }
    }
    close();
    throw new IOException("the upload has ended");
  }

  /** Returns the number of bytes if it is known when they are opened. */
  synchronized OptionalLong size() {
    return size;
  }

  /** Closes the bytes, once; opened later, they are closed then. */
  void close() {
    InputStream open;
    synchronized (this) {
      isClosed = true;
      open = stream;
      stream = null;
    }
    if (open != null) {
      try {
        open.close();
      } catch (IOException e) {
        // Everything needed was read, or the call has already failed.
        return;
      }
    }
  }
}
