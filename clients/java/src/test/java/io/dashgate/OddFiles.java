package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Path;

/** Makes files that are not regular. */
final class OddFiles {
  private OddFiles() {}

  /** Makes a named pipe, which no process writes to. */
  static Path pipe(Path path) throws IOException {
    try {
      assertEquals(0, new ProcessBuilder("mkfifo", path.toString()).start().waitFor());
    } catch (InterruptedException e) {
      throw new IOException(e);
    }
    return path;
  }
}
