package io.dashgate;

import io.dashgate.v1.Audio;
import io.dashgate.v1.Content;
import io.dashgate.v1.Conversation;
import io.dashgate.v1.Image;
import io.dashgate.v1.Message;
import io.dashgate.v1.UploadMediaResponse;
import io.dashgate.v1.Video;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import java.util.function.Function;

/** Uploads the large files that a conversation names, before it is sent. */
final class Attachments {
  private final FileUploads uploads;
  /** The calls whose files are not uploaded yet. */
  private final Set<WaitLimit> waiting = ConcurrentHashMap.newKeySet();
  /** The uploads that are being made, by what they are remembered by. */
  private final Map<List<Object>, CallRecord> making = new ConcurrentHashMap<>();

  Attachments(FileUploads uploads) {
    this.uploads = uploads;
  }

  /** The calls that uploads need; each passes its record on before it begins. */
  interface Gateway {
    /** Returns the model of a stored conversation. */
    CompletableFuture<String> model(String name, Consumer<CallRecord> begun);

    CompletableFuture<UploadMediaResponse> upload(
        String model, Upload upload, Consumer<CallRecord> begun);
  }

  /** What a call waits for. */
  private final class Wait {
    final String requestId;
    /** The latest call of its own, or null. */
    volatile CallRecord latest;
    /** What the upload is remembered by, which another call may make; or null. */
    volatile List<Object> key;

    Wait(String requestId) {
      this.requestId = requestId;
    }

    /** Returns the error of the call, which ends now. */
    DashgateException ended(Status why) {
      CallRecord record = key == null ? latest : making.getOrDefault(key, latest);
      String obstacle = record == null ? null : record.obstacle();
      return why.getCode() == Status.Code.DEADLINE_EXCEEDED && obstacle != null
          ? DashgateException.own(Status.Code.UNAVAILABLE, "", obstacle, requestId)
          : DashgateException.from(why, null, requestId);
    }
  }

  /**
   * Returns a conversation with the URIs of uploads in place of its large files.
   *
   * @param requestId the request id of the call that sends it
   * @param deadline the deadline of that call
   */
  CompletableFuture<Conversation> sent(
      Conversation conversation, String requestId, Deadline deadline, Gateway gateway) {
    Set<Reference> references = references(conversation);
    if (references.isEmpty()) {
      return CompletableFuture.completedFuture(conversation);
    }
    Wait wait = new Wait(requestId);
    CompletableFuture<Map<Reference, AttachedFile>> files =
        // All of them before the first call: nothing is sent if one is not there.
        Background.supply(() -> files(references, requestId));
    CompletableFuture<Map<Reference, String>> uploaded =
        Futures.compose(
            files,
            found ->
                Futures.compose(
                    conversation.getModel().isEmpty()
                        ? gateway.model(conversation.getName(), it -> wait.latest = it)
                        : CompletableFuture.completedFuture(conversation.getModel()),
                    model -> upload(found, wait, model, gateway)));
    CompletableFuture<Conversation> sent =
        Futures.map(uploaded, found -> replaced(conversation, found));
    limit(sent, wait, deadline);
    return sent;
  }

  /** Ends the calls that wait for uploads. */
  void close(Status why) {
    waiting.forEach(it -> it.end(why));
  }

  /** Files are opened, and uploads of other callers awaited, without a call that has a deadline. */
  private void limit(CompletableFuture<Conversation> sent, Wait wait, Deadline deadline) {
    WaitLimit limit =
        new WaitLimit(
            Context.current(),
            deadline,
            why -> sent.completeExceptionally(wait.ended(why)));
    waiting.add(limit);
    limit.start();
    sent.whenComplete(
        (conversation, fault) -> {
          limit.stop();
          waiting.remove(limit);
        });
  }

  private static Map<Reference, AttachedFile> files(Set<Reference> references, String requestId) {
    Map<Reference, AttachedFile> files = new LinkedHashMap<>();
    for (Reference reference : references) {
      AttachedFile file =
          AttachedFiles.ALL
              .file(reference.uri)
              .orElseThrow(() -> unknown(reference.uri, requestId));
      file.check(requestId);
      files.put(reference, file);
    }
    return files;
  }

  /** Uploads files that are not uploaded yet, one after the other. */
  private CompletableFuture<Map<Reference, String>> upload(
      Map<Reference, AttachedFile> files, Wait wait, String model, Gateway gateway) {
    Map<Reference, String> replacements = new HashMap<>();
    CompletableFuture<Map<Reference, String>> all =
        CompletableFuture.completedFuture(replacements);
    for (Map.Entry<Reference, AttachedFile> entry : files.entrySet()) {
      AttachedFile file = entry.getValue();
      String mimeType = entry.getKey().mimeType;
      Function<Map<Reference, String>, CompletableFuture<Map<Reference, String>>> next =
          unused ->
              Futures.map(
                  shared(file, wait, model, mimeType, gateway),
                  uri -> {
                    replacements.put(entry.getKey(), uri);
                    return replacements;
                  });
      all = Futures.compose(all, next);
    }
    return all;
  }

  /** Returns the URI of an upload, which another call may make. */
  private CompletableFuture<String> shared(
      AttachedFile file, Wait wait, String model, String mimeType, Gateway gateway) {
    List<Object> key = FileUploads.key(file, model, mimeType);
    wait.key = key;
    return uploads.uri(key, () -> upload(file, wait, model, mimeType, gateway));
  }

  private CompletableFuture<UploadMediaResponse> upload(
      AttachedFile file, Wait wait, String model, String mimeType, Gateway gateway) {
    List<Object> key = FileUploads.key(file, model, mimeType);
    Consumer<CallRecord> begun =
        record -> {
          wait.latest = record;
          making.put(key, record);
        };
    CompletableFuture<OpenedFile> opening =
        Background.supply(() -> file.open(wait.requestId));
    CompletableFuture<UploadMediaResponse> uploaded =
        Futures.compose(
            // Cancelling must not lose a file that is open by then.
            Futures.kept(opening),
            opened -> gateway.upload(model, Upload.of(file, opened, mimeType), begun));
    uploaded.whenComplete(
        (response, fault) -> {
          making.remove(key);
          opening.thenAccept(AttachedFile::close);
        });
    return uploaded;
  }

  private static Set<Reference> references(Conversation conversation) {
    Set<Reference> found = new LinkedHashSet<>();
    for (Message message : conversation.getMessagesList()) {
      for (Content part : message.getContentList()) {
        add(part.getAudio().getUri(), part.getAudio().getMimeType(), found);
        add(part.getImage().getUri(), part.getImage().getMimeType(), found);
        add(part.getVideo().getUri(), part.getVideo().getMimeType(), found);
        for (Image frame : part.getVideo().getFrames().getFramesList()) {
          add(frame.getUri(), frame.getMimeType(), found);
        }
      }
    }
    return found;
  }

  private static void add(String uri, String mimeType, Set<Reference> found) {
    if (AttachedFiles.isAttached(uri)) {
      found.add(new Reference(uri, mimeType));
    }
  }

  private static Conversation replaced(
      Conversation conversation, Map<Reference, String> replacements) {
    Conversation.Builder copy = conversation.toBuilder();
    for (Message.Builder message : copy.getMessagesBuilderList()) {
      for (Content.Builder part : message.getContentBuilderList()) {
        replace(part, replacements);
      }
    }
    return copy.build();
  }

  private static void replace(Content.Builder part, Map<Reference, String> replacements) {
    Audio audio = part.getAudio();
    Video video = part.getVideo();
    replace(audio.getUri(), audio.getMimeType(), replacements)
        .ifPresent(it -> part.getAudioBuilder().setUri(it));
    replace(part.getImage().getUri(), part.getImage().getMimeType(), replacements)
        .ifPresent(it -> part.getImageBuilder().setUri(it));
    replace(video.getUri(), video.getMimeType(), replacements)
        .ifPresent(it -> part.getVideoBuilder().setUri(it));
    if (video.hasFrames()) {
      for (Image.Builder frame :
          part.getVideoBuilder().getFramesBuilder().getFramesBuilderList()) {
        replace(frame.getUri(), frame.getMimeType(), replacements).ifPresent(frame::setUri);
      }
    }
  }

  private static Optional<String> replace(
      String uri, String mimeType, Map<Reference, String> replacements) {
    return Optional.ofNullable(replacements.get(new Reference(uri, mimeType)));
  }

  private static DashgateException unknown(String uri, String requestId) {
    return DashgateException.own(
        Status.Code.INVALID_ARGUMENT,
        "",
        "this process does not know the file " + uri + ": attach the file again",
        requestId);
  }

  /** What a part has of a file. */
  private static final class Reference {
    final String uri;
    final String mimeType;

    Reference(String uri, String mimeType) {
      this.uri = uri;
      this.mimeType = mimeType;
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Reference
          && uri.equals(((Reference) other).uri)
          && mimeType.equals(((Reference) other).mimeType);
    }

    @Override
    public int hashCode() {
      return Objects.hash(uri, mimeType);
    }
  }
}
