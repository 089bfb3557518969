package io.dashgate;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;

/**
 * The large files that messages of this process name. Their URIs are random, so that a message from
 * somewhere else can never name a file of this machine.
 */
final class AttachedFiles {
  /** The files of this process. */
  static final AttachedFiles ALL = new AttachedFiles(10_000);

  private static final String SCHEME = "dashgate-file:";

  /** By URI; the oldest is forgotten first. Guarded by this. */
  private final Map<String, AttachedFile> files;

  AttachedFiles(int limit) {
    files =
        new LinkedHashMap<>() {
          private static final long serialVersionUID = 1L;

          @Override
          protected boolean removeEldestEntry(Map.Entry<String, AttachedFile> eldest) {
            return size() > limit;
          }
        };
  }

  /** Returns a new URI of a file in this version. */
  synchronized String attach(Path file, FileVersion version) {
    String uri = SCHEME + UUID.randomUUID().toString().replace("-", "");
    files.put(uri, new AttachedFile(file.toAbsolutePath(), version));
    return uri;
  }

  synchronized Optional<AttachedFile> file(String uri) {
    return Optional.ofNullable(files.get(uri));
  }

  static boolean isAttached(String uri) {
    return uri.startsWith(SCHEME);
  }
}
