package io.dashgate;

import com.google.protobuf.Timestamp;
import io.dashgate.v1.UploadMediaResponse;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The uploads of files that a client remembers: each file is uploaded once for each model. */
final class FileUploads {
  private static final int LIMIT = 1000;

  /** An upload is not used in its last hour: a call may wait before DashScope reads it. */
  private static final Duration MARGIN = Duration.ofHours(1);

  private final Clock clock;

  /** By file and model; the oldest is forgotten first. Guarded by this. */
  private final Map<List<Object>, UploadMediaResponse> uploads =
      new LinkedHashMap<>() {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<List<Object>, UploadMediaResponse> eldest) {
          return size() > LIMIT;
        }
      };

  FileUploads(Clock clock) {
    this.clock = clock;
  }

  /** Returns what an upload of a file is remembered by: a changed file is another one. */
  static List<Object> key(Path file, String model) {
    try {
      BasicFileAttributes now = Files.readAttributes(file, BasicFileAttributes.class);
      return List.of(file, now.size(), now.lastModifiedTime(), model);
    } catch (IOException e) {
      throw LocalFiles.unreadable(file, e);
    }
  }

  /** Returns the URI of an upload that does not expire soon. */
  synchronized Optional<String> uri(List<Object> key) {
    UploadMediaResponse upload = uploads.get(key);
    return upload != null && isFresh(upload) ? Optional.of(upload.getUri()) : Optional.empty();
  }

  synchronized void remember(List<Object> key, UploadMediaResponse upload) {
    uploads.remove(key);
    uploads.put(key, upload);
  }

  private boolean isFresh(UploadMediaResponse upload) {
    Timestamp at = upload.getExpiresAt();
    Instant expires = Instant.ofEpochSecond(at.getSeconds(), at.getNanos());
    return clock.instant().plus(MARGIN).isBefore(expires);
  }
}
