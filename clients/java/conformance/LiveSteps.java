import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.ByteString;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.util.JsonFormat;
import io.dashgate.CallSettings;
import io.dashgate.DashgateClient;
import io.dashgate.LiveSession;
import io.dashgate.SpeechSession;
import io.dashgate.v1.ConverseLiveResponse;
import io.dashgate.v1.LiveSetup;
import io.dashgate.v1.SynthesisSetup;
import io.dashgate.v1.SynthesizeLiveResponse;
import io.dashgate.v1.UpdateSession;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Does the steps of a live session. */
final class LiveSteps {
  /** The bytes of 100 ms. */
  private static final int PIECE = 3200;

  private final JsonArray events;
  private final List<LiveSession> others = new ArrayList<>();

  LiveSteps(JsonArray events) {
    this.events = events;
  }

  @SuppressWarnings("try") // Closing early is a step.
  void live(DashgateClient client, JsonObject call, CallSettings settings) throws IOException {
    LiveSetup.Builder setup = LiveSetup.newBuilder();
    JsonFormat.parser().merge(call.get("setup").toString(), setup);
    try (LiveSession session = client.live(setup.build(), settings)) {
      for (JsonElement element : call.getAsJsonArray("steps")) {
        String kind = kind(element);
        JsonElement value = element.getAsJsonObject().get(kind);
        if (kind.equals("take_over")) {
          LiveSetup resume =
              LiveSetup.newBuilder().setResume(session.resumption().orElseThrow()).build();
          LiveSession other = client.live(resume, CallSettings.create());
          others.add(other);
          other.next();
        } else {
          step(session, kind, value);
        }
      }
      read(session, "");
    } finally {
      others.forEach(LiveSession::close);
    }
  }

  @SuppressWarnings("try") // Closing early is a step.
  void speak(DashgateClient client, JsonObject call, CallSettings settings) throws IOException {
    SynthesisSetup.Builder setup = SynthesisSetup.newBuilder();
    JsonFormat.parser().merge(call.get("setup").toString(), setup);
    try (SpeechSession session = client.speak(setup.build(), settings)) {
      for (JsonElement element : call.getAsJsonArray("steps")) {
        String kind = kind(element);
        JsonElement value = element.getAsJsonObject().get(kind);
        switch (kind) {
          case "text":
            session.sendText(value.getAsString());
            break;
          case "commit":
            session.commit();
            break;
          case "clear":
            session.clear();
            break;
          case "await":
            read(session, value.getAsString());
            break;
          case "close":
            session.close();
            break;
          case "finish":
            session.finish();
            break;
          default:
            throw new IllegalArgumentException("unknown step: " + kind);
        }
      }
      read(session, "");
    }
  }

  @SuppressWarnings("try") // Closing early is a step.
  private void step(LiveSession session, String kind, JsonElement value) throws IOException {
    switch (kind) {
      case "audio_file":
        byte[] audio = Files.readAllBytes(Path.of(value.getAsString()));
        for (int at = 0; at < audio.length; at += PIECE) {
          int length = Math.min(PIECE, audio.length - at);
          session.sendAudio(ByteString.copyFrom(audio, at, length));
        }
        break;
      case "image_file":
        session.sendImage(Files.readAllBytes(Path.of(value.getAsString())));
        break;
      case "text":
        session.sendText(value.getAsString());
        break;
      case "commit":
        session.commit();
        break;
      case "clear":
        session.clear();
        break;
      case "create_response":
        session.createResponse(
            Job.text(value.getAsJsonObject(), "instructions"),
            texts(value.getAsJsonObject(), "modalities"));
        break;
      case "cancel_response":
        session.cancelResponse();
        break;
      case "tool_result":
        JsonObject result = value.getAsJsonObject();
        String id = Job.text(result, "tool_call_id");
        session.sendToolResult(
            id.isEmpty() ? lastToolCall() : id, result.get("output").getAsString());
        break;
      case "update":
        UpdateSession.Builder update = UpdateSession.newBuilder();
        JsonFormat.parser().merge(value.toString(), update);
        session.update(update.build());
        break;
      case "delete_item":
        session.deleteItem(value.getAsJsonObject().get("item_id").getAsString());
        break;
      case "await":
        read(session, value.getAsString());
        break;
      case "close":
        session.close();
        break;
      case "finish":
        session.finish();
        break;
      default:
        throw new IllegalArgumentException("unknown step: " + kind);
    }
  }

  private void read(LiveSession session, String last) throws IOException {
    for (ConverseLiveResponse event : session.events()) {
      if (add(event, event.getEventCase().name(), last)) {
        return;
      }
    }
  }

  private void read(SpeechSession session, String last) throws IOException {
    for (SynthesizeLiveResponse event : session.events()) {
      if (add(event, event.getEventCase().name(), last)) {
        return;
      }
    }
  }

  /** Returns whether the event is of the kind that is awaited. */
  private boolean add(MessageOrBuilder event, String kind, String last) throws IOException {
    events.add(ResultJson.json(event));
    return kind.toLowerCase(Locale.ROOT).equals(last);
  }

  private String lastToolCall() {
    for (int at = events.size() - 1; at >= 0; at--) {
      JsonObject event = events.get(at).getAsJsonObject();
      if (event.has("responseDelta") && event.getAsJsonObject("responseDelta").has("toolCall")) {
        JsonObject call = event.getAsJsonObject("responseDelta").getAsJsonObject("toolCall");
        if (!Job.text(call, "id").isEmpty()) {
          return call.get("id").getAsString();
        }
      }
    }
    throw new IllegalArgumentException("there is no tool call");
  }

  private static String kind(JsonElement step) {
    return step.getAsJsonObject().keySet().iterator().next();
  }

  private static List<String> texts(JsonObject object, String key) {
    List<String> texts = new ArrayList<>();
    if (object.has(key)) {
      object.getAsJsonArray(key).forEach(text -> texts.add(text.getAsString()));
    }
    return texts;
  }
}
