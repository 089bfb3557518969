package io.dashgate;

import io.grpc.Status;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Path;

/** A large file that a message names. What is sent is what was attached, or nothing. */
final class AttachedFile {
  private final Path path;
  private final FileVersion version;

  AttachedFile(Path path, FileVersion version) {
    this.path = path;
    this.version = version;
  }

  Path path() {
    return path;
  }

  FileVersion version() {
    return version;
  }

  /**
   * Checks that the path still names the file, which is unchanged.
   *
   * @param requestId the request id of the call that needs it
   */
  void check(String requestId) {
    try {
      require(FileOpener.version(path), requestId);
    } catch (IOException e) {
      throw error(e, requestId);
    }
  }

  /** Opens the file, if it is the one that was attached. */
  OpenedFile open(String requestId) {
    OpenedFile opened;
    try {
      opened = FileOpener.SYSTEM.open(path);
    } catch (IOException e) {
      throw error(e, requestId);
    }
    try {
      require(opened.version(), requestId);
    } catch (DashgateException e) {
      close(opened);
      throw e;
    }
    return opened;
  }

  static void close(OpenedFile opened) {
    try {
      opened.close();
    } catch (IOException e) {
      // Nothing was read.
      return;
    }
  }

  private void require(FileVersion now, String requestId) {
    if (!now.equals(version)) {
      throw changed(requestId);
    }
  }

  /** The path of a file that was attached names no regular file, which is another file. */
  private RuntimeException error(IOException cause, String requestId) {
    boolean isOther = !(cause instanceof FileSystemException);
    return isOther ? changed(requestId) : LocalFiles.unreadable(path, cause);
  }

  private DashgateException changed(String requestId) {
    return DashgateException.own(
        Status.Code.INVALID_ARGUMENT,
        "",
        "the file " + path + " is not the one that was attached: attach the file again",
        requestId);
  }
}
