package io.dashgate;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/** Paths of files, and the errors of those that cannot be read. */
final class LocalFiles {
  private static final String SCHEME = "file:";

  private LocalFiles() {}

  /** Returns the path that a text is, or that its {@code file:} URI names. */
  static Path path(String pathOrUri) {
    if (!pathOrUri.regionMatches(true, 0, SCHEME, 0, SCHEME.length())) {
      return Path.of(pathOrUri);
    }
    String rest = pathOrUri.substring(SCHEME.length());
    if (rest.startsWith("//")) {
      int slash = rest.indexOf('/', 2);
      String host = rest.substring(2, slash < 0 ? rest.length() : slash);
      if (!host.isEmpty() && !host.equalsIgnoreCase("localhost")) {
        throw new IllegalArgumentException(
            "the URI \"" + pathOrUri + "\" names a file of another machine");
      }
      rest = slash < 0 ? "" : rest.substring(slash);
    }
    // A plus sign is itself in a URI.
    String name = URLDecoder.decode(rest.replace("+", "%2B"), StandardCharsets.UTF_8);
    // Of file:///C:/a.wav.
    return Path.of(name.matches("/[A-Za-z]:.*") ? name.substring(1) : name);
  }

  /** Opens a regular file. */
  static OpenedFile open(Path file) {
    try {
      return FileOpener.SYSTEM.open(file);
    } catch (IOException e) {
      throw unreadable(file, e);
    }
  }

  /** Returns the version of a regular file. */
  static FileVersion version(Path file) {
    try {
      return FileOpener.version(file);
    } catch (IOException e) {
      throw unreadable(file, e);
    }
  }

  /** The error of a file that cannot be read. */
  static UncheckedIOException unreadable(Path file, IOException cause) {
    return new UncheckedIOException("cannot read " + file + ": " + why(cause), cause);
  }

  /** The messages of some exceptions are only the path. */
  private static String why(IOException cause) {
    if (cause instanceof NoSuchFileException) {
      return "no such file";
    }
    return cause instanceof AccessDeniedException ? "permission denied" : cause.getMessage();
  }
}
