package io.dashgate;

import io.dashgate.v1.Content;
import io.dashgate.v1.Conversation;
import io.dashgate.v1.Image;
import io.dashgate.v1.Message;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.Status;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/** Uploads the large files that a conversation names, before it is sent. */
final class Attachments {
  private final FileUploads uploads;

  Attachments(FileUploads uploads) {
    this.uploads = uploads;
  }

  /** Returns the URIs of files in a conversation. */
  static Set<String> uris(Conversation conversation) {
    Set<String> uris = new LinkedHashSet<>();
    for (Message message : conversation.getMessagesList()) {
      for (Content part : message.getContentList()) {
        add(part.getAudio().getUri(), uris);
        add(part.getImage().getUri(), uris);
        add(part.getVideo().getUri(), uris);
        for (Image frame : part.getVideo().getFrames().getFramesList()) {
          add(frame.getUri(), uris);
        }
      }
    }
    return uris;
  }

  /**
   * Uploads files that are not uploaded yet, one after the other.
   *
   * @param uris the URIs of the files
   * @param requestId the request id of the call that needs them
   * @param upload uploads a file
   * @return the URIs of the uploads by those of the files
   */
  CompletableFuture<Map<String, String>> upload(
      Set<String> uris,
      String requestId,
      String model,
      Function<Upload, CompletableFuture<UploadMediaResponse>> upload) {
    Map<String, Path> files = new HashMap<>();
    for (String uri : uris) {
      // All of them before the first upload: nothing is sent if one is not known.
      files.put(uri, AttachedFiles.ALL.file(uri).orElseThrow(() -> unknown(uri, requestId)));
    }
    Map<String, String> replacements = new HashMap<>();
    CompletableFuture<Map<String, String>> all =
        CompletableFuture.completedFuture(replacements);
    for (String uri : uris) {
      Function<Map<String, String>, CompletableFuture<Map<String, String>>> next =
          unused ->
              Futures.map(
                  uploaded(files.get(uri), model, upload),
                  found -> {
                    replacements.put(uri, found);
                    return replacements;
                  });
      all = Futures.compose(all, next);
    }
    return all;
  }

  private CompletableFuture<String> uploaded(
      Path file,
      String model,
      Function<Upload, CompletableFuture<UploadMediaResponse>> upload) {
    List<Object> key = FileUploads.key(file, model);
    return uploads
        .uri(key)
        .map(CompletableFuture::completedFuture)
        .orElseGet(
            () ->
                Futures.map(
                    upload.apply(Upload.of(file)),
                    response -> {
                      uploads.remember(key, response);
                      return response.getUri();
                    }));
  }

  /** Returns a conversation with the URIs of the uploads. */
  static Conversation replaced(Conversation conversation, Map<String, String> replacements) {
    Conversation.Builder copy = conversation.toBuilder();
    for (Message.Builder message : copy.getMessagesBuilderList()) {
      for (Content.Builder part : message.getContentBuilderList()) {
        replace(part, replacements);
      }
    }
    return copy.build();
  }

  private static void replace(Content.Builder part, Map<String, String> replacements) {
    if (replacements.containsKey(part.getAudio().getUri())) {
      part.getAudioBuilder().setUri(replacements.get(part.getAudio().getUri()));
    } else if (replacements.containsKey(part.getImage().getUri())) {
      part.getImageBuilder().setUri(replacements.get(part.getImage().getUri()));
    } else if (replacements.containsKey(part.getVideo().getUri())) {
      part.getVideoBuilder().setUri(replacements.get(part.getVideo().getUri()));
    } else if (part.getVideo().hasFrames()) {
      for (Image.Builder frame :
          part.getVideoBuilder().getFramesBuilder().getFramesBuilderList()) {
        if (replacements.containsKey(frame.getUri())) {
          frame.setUri(replacements.get(frame.getUri()));
        }
      }
    }
  }

  private static void add(String uri, Set<String> uris) {
    if (AttachedFiles.isAttached(uri)) {
      uris.add(uri);
    }
  }

  private static DashgateException unknown(String uri, String requestId) {
    return DashgateException.own(
        Status.Code.INVALID_ARGUMENT,
        "",
        "this process does not know the file " + uri + ": attach the file again",
        requestId);
  }
}
