package io.dashgate;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Opens regular files, and nothing else. Java cannot open a file without waiting: opening a pipe
 * waits for its writer, also if the path named a regular file a moment before. So files are opened
 * by a thread that may be lost, and the path is looked at before, after, and while that takes long.
 */
final class FileOpener {
  static final FileOpener SYSTEM = new FileOpener(Files::newInputStream, 64);

  /** After this time, the path is looked at again. */
  private static final long PATIENCE_MILLIS = 100;

  private final Opening opening;
  private final int maxLost;
  /** The threads that open what was a regular file before, and are not waited for. */
  private final AtomicInteger lost = new AtomicInteger();

  /**
   * Opens files with a function.
   *
   * @param maxLost how many threads may be lost before no more files are opened
   */
  FileOpener(Opening opening, int maxLost) {
    this.opening = opening;
    this.maxLost = maxLost;
  }

  /** Opens a path, whatever it names. */
  @FunctionalInterface
  interface Opening {
    InputStream open(Path file) throws IOException;
  }

  /** Returns the version of a file that is not opened. */
  static FileVersion version(Path file) throws IOException {
    BasicFileAttributes attributes = Files.readAttributes(file, BasicFileAttributes.class);
    if (!attributes.isRegularFile()) {
      throw new IOException(
          attributes.isDirectory() ? "it is a directory" : "it is no regular file");
    }
    return new FileVersion(attributes);
  }

  OpenedFile open(Path file) throws IOException {
    FileVersion before = version(file);
    InputStream stream = stream(file, before);
    try {
      return new OpenedFile(stream, same(file, before));
    } catch (IOException | RuntimeException e) {
      stream.close();
      throw e;
    }
  }

  private InputStream stream(Path file, FileVersion before) throws IOException {
    if (lost.get() >= maxLost) {
      throw new FileSystemException(
          file.toString(), null, "opening " + maxLost + " other files has not ended");
    }
    CompletableFuture<InputStream> opened = new CompletableFuture<>();
    Background.THREADS.execute(() -> open(file, opened));
    try {
      return waitFor(opened, file, before);
    } catch (IOException | RuntimeException e) {
      if (opened.completeExceptionally(e)) {
        lost.incrementAndGet();
      } else {
        opened.thenAccept(FileOpener::close);
      }
      throw e;
    }
  }

  private void open(Path file, CompletableFuture<InputStream> opened) {
    try {
      InputStream stream = opening.open(file);
      if (!opened.complete(stream)) {
        lost.decrementAndGet();
        close(stream);
      }
    } catch (Throwable e) {
      if (!opened.completeExceptionally(e)) {
        lost.decrementAndGet();
      }
    }
  }

  /** Waits as opening itself does: interrupting the thread does not end it. */
  private static InputStream waitFor(
      CompletableFuture<InputStream> opened, Path file, FileVersion before) throws IOException {
    boolean isInterrupted = false;
    try {
      while (true) {
        try {
          return opened.get(PATIENCE_MILLIS, TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
          same(file, before);
        } catch (InterruptedException e) {
          isInterrupted = true;
        }
      }
    } catch (ExecutionException e) {
      if (e.getCause() instanceof IOException) {
        throw (IOException) e.getCause();
      }
      throw Throwables.raise(e.getCause());
    } finally {
      if (isInterrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private static void close(InputStream unused) {
    try {
      unused.close();
    } catch (IOException e) {
      // Nothing was read.
      return;
    }
  }

  private static FileVersion same(Path file, FileVersion before) throws IOException {
    FileVersion now = version(file);
    if (!now.isSameFile(before)) {
      throw new IOException("it was replaced while it was opened");
    }
    return now;
  }
}
