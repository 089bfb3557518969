import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.dashgate.Contents;
import io.dashgate.v1.Content;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Builds the contents that a job describes, with the methods of the library. */
final class ContentSpec {
  private ContentSpec() {}

  static Content[] contents(JsonArray specs, String uploadedUri) throws IOException {
    List<Content> contents = new ArrayList<>();
    for (JsonElement spec : specs) {
      contents.add(content(spec.getAsJsonObject(), uploadedUri));
    }
    return contents.toArray(new Content[0]);
  }

  private static Content content(JsonObject spec, String uploadedUri) throws IOException {
    String mime = spec.has("mime_type") ? spec.get("mime_type").getAsString() : null;
    for (Map.Entry<String, JsonElement> entry : spec.entrySet()) {
      String key = entry.getKey();
      if (key.equals("mime_type")) {
        continue;
      }
      if (key.equals("video_frames")) {
        List<Content> frames = new ArrayList<>();
        for (JsonElement file : entry.getValue().getAsJsonArray()) {
          frames.add(Contents.image(file.getAsString()));
        }
        return Contents.video(frames);
      }
      String value = entry.getValue().getAsString();
      if (key.equals("text")) {
        return Contents.text(value);
      }
      if (key.equals("uploaded")) {
        return medium(value, uploadedUri, mime);
      }
      for (String kind : List.of("audio", "image", "video")) {
        if (key.equals(kind + "_file") || key.equals(kind + "_uri")) {
          return medium(kind, value, mime);
        }
        if (key.equals(kind + "_bytes_of")) {
          return medium(kind, Files.readAllBytes(Path.of(value)), mime);
        }
      }
      throw new IllegalArgumentException("unknown content: " + key);
    }
    throw new IllegalArgumentException("an empty content");
  }

  private static Content medium(String kind, String pathOrUri, String mime) {
    switch (kind) {
      case "audio":
        return mime == null ? Contents.audio(pathOrUri) : Contents.audio(pathOrUri, mime);
      case "image":
        return mime == null ? Contents.image(pathOrUri) : Contents.image(pathOrUri, mime);
      case "video":
        return mime == null ? Contents.video(pathOrUri) : Contents.video(pathOrUri, mime);
      default:
        throw new IllegalArgumentException("unknown kind of medium: " + kind);
    }
  }

  private static Content medium(String kind, byte[] data, String mime) {
    switch (kind) {
      case "audio":
        return mime == null ? Contents.audio(data) : Contents.audio(data, mime);
      case "image":
        return mime == null ? Contents.image(data) : Contents.image(data, mime);
      default:
        return mime == null ? Contents.video(data) : Contents.video(data, mime);
    }
  }
}
