package io.dashgate;

import com.google.protobuf.Timestamp;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.Context;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;

/**
 * The uploads of files that a client remembers: each file is uploaded once for each model and type.
 * Calls that need the same upload at once share it.
 */
final class FileUploads {
  private static final int LIMIT = 1000;

  /** An upload is not used in its last hour: a call may wait before DashScope reads it. */
  private static final Duration MARGIN = Duration.ofHours(1);

  private final Clock clock;

  /** The oldest is forgotten first. Guarded by this. */
  private final Map<List<Object>, UploadMediaResponse> uploads =
      new LinkedHashMap<>() {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<List<Object>, UploadMediaResponse> eldest) {
          return size() > LIMIT;
        }
      };

  /** Those that need an upload. The first of each makes it. Guarded by this. */
  private final Map<List<Object>, Deque<Caller>> callers = new HashMap<>();

  FileUploads(Clock clock) {
    this.clock = clock;
  }

  /** Returns what an upload is remembered by. */
  static List<Object> key(AttachedFile file, String model, String mimeType) {
    return List.of(file.path(), file.version(), model, mimeType);
  }

  /**
   * Returns the URI of an upload that does not expire soon.
   *
   * @param upload makes it, unless it is remembered or another caller does. If that one fails or
   *     leaves, this caller makes it after all
   */
  CompletableFuture<String> uri(
      List<Object> key, Supplier<CompletableFuture<UploadMediaResponse>> upload) {
    Caller caller = new Caller(key, upload);
    boolean isFirst;
    synchronized (this) {
      UploadMediaResponse known = uploads.get(key);
      if (known != null && isFresh(known)) {
        return CompletableFuture.completedFuture(known.getUri());
      }
      Deque<Caller> all = callers.computeIfAbsent(key, unused -> new ArrayDeque<>());
      isFirst = all.isEmpty();
      all.add(caller);
    }
    caller.uri.whenComplete((uri, fault) -> leave(caller));
    if (isFirst) {
      caller.begin();
    }
    return caller.uri;
  }

  private void succeeded(Caller caller, UploadMediaResponse response) {
    Deque<Caller> all;
    synchronized (this) {
      // Again at the end of those that are forgotten.
      uploads.remove(caller.key);
      uploads.put(caller.key, response);
      all = callers.remove(caller.key);
    }
    if (all != null) {
      all.forEach(it -> it.uri.complete(response.getUri()));
    }
  }

  /** Removes a caller that has failed or was cancelled. The next one makes the upload. */
  private void leave(Caller caller) {
    Caller next = null;
    synchronized (this) {
      Deque<Caller> all = callers.get(caller.key);
      if (all == null) {
        return;
      }
      boolean wasFirst = all.peek() == caller;
      all.remove(caller);
      if (all.isEmpty()) {
        callers.remove(caller.key);
      } else if (wasFirst) {
        next = all.peek();
      }
    }
    if (next != null) {
      next.begin();
    }
  }

  private boolean isFresh(UploadMediaResponse upload) {
    Timestamp at = upload.getExpiresAt();
    Instant expires = Instant.ofEpochSecond(at.getSeconds(), at.getNanos());
    return clock.instant().plus(MARGIN).isBefore(expires);
  }

  /** A call that needs an upload. */
  private final class Caller {
    final List<Object> key;
    final CompletableFuture<String> uri = new CompletableFuture<>();
    private final Supplier<CompletableFuture<UploadMediaResponse>> upload;
    /** The upload has the deadline and the cancellation of the one that makes it. */
    private final Context context = Context.current();

    Caller(List<Object> key, Supplier<CompletableFuture<UploadMediaResponse>> upload) {
      this.key = key;
      this.upload = upload;
    }

    void begin() {
      if (!uri.isDone()) {
        context.run(this::make);
      }
    }

    private void make() {
      CompletableFuture<UploadMediaResponse> made = upload.get();
      made.whenComplete(
          (response, fault) -> {
            if (fault == null) {
              succeeded(this, response);
            } else {
              uri.completeExceptionally(fault);
            }
          });
      uri.whenComplete((found, fault) -> made.cancel(false));
    }
  }
}
