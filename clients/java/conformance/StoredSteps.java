import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.MessageOrBuilder;
import io.dashgate.CallSettings;
import io.dashgate.ConversationSettings;
import io.dashgate.DashgateClient;
import io.dashgate.v1.CancelTurnRequest;
import io.dashgate.v1.ForkConversationRequest;
import io.dashgate.v1.ListTurnsRequest;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/** Does the steps with stored conversations. */
final class StoredSteps {
  private final DashgateClient client;
  private final JsonArray results;

  StoredSteps(DashgateClient client, JsonArray results) {
    this.client = client;
    this.results = results;
  }

  void play(JsonArray steps) throws IOException {
    for (JsonElement step : steps) {
      String kind = step.getAsJsonObject().keySet().iterator().next();
      play(kind, step.getAsJsonObject().getAsJsonObject(kind));
    }
  }

  private void play(String kind, JsonObject step) throws IOException {
    String name = Job.text(step, "name");
    switch (kind) {
      case "create":
        Job.known(step, "id", "model", "labels", "ttl_seconds");
        conversation(client.createConversation(Job.text(step, "id"), settings(step)));
        break;
      case "get":
        Job.known(step, "name");
        conversation(client.getConversation(name));
        break;
      case "list":
        Job.known(step, "page_size");
        list("conversations", client.listConversations(pageSize(step), CallSettings.create()));
        break;
      case "update":
        Job.known(step, "name", "model", "labels", "ttl_seconds");
        conversation(client.updateConversation(name, settings(step)));
        break;
      case "delete":
        Job.known(step, "name");
        client.deleteConversation(name);
        add("deleted", new JsonPrimitive(true));
        break;
      case "delete_turn":
        Job.known(step, "name");
        client.deleteTurn(name);
        add("deleted", new JsonPrimitive(true));
        break;
      case "turns":
        list("turns", client.listTurns(turns(step), CallSettings.create()));
        break;
      case "fork":
        conversation(client.forkConversation(fork(step), CallSettings.create()));
        break;
      case "cancel_turn":
        Job.known(step, "name", "request_id");
        CancelTurnRequest request =
            CancelTurnRequest.newBuilder()
                .setName(name)
                .setRequestId(Job.text(step, "request_id"))
                .build();
        add(
            "cancelled",
            new JsonPrimitive(client.cancelTurn(request, CallSettings.create()).getRequestId()));
        break;
      case "converse":
        Job.known(step, "conversation", "expected_turn", "history");
        add(
            "answer",
            ResultJson.answer(client.converse(Job.conversation(step), Job.settings(step))));
        break;
      default:
        throw new IllegalArgumentException("unknown step: " + kind);
    }
  }

  private static ConversationSettings settings(JsonObject step) {
    ConversationSettings settings = ConversationSettings.create();
    if (step.has("model")) {
      settings = settings.model(step.get("model").getAsString());
    }
    if (step.has("labels")) {
      Map<String, String> labels = new HashMap<>();
      step.getAsJsonObject("labels")
          .entrySet()
          .forEach(label -> labels.put(label.getKey(), label.getValue().getAsString()));
      settings = settings.labels(labels);
    }
    if (step.has("ttl_seconds")) {
      settings = settings.ttl(Duration.ofSeconds(step.get("ttl_seconds").getAsLong()));
    }
    return settings;
  }

  private static ListTurnsRequest turns(JsonObject step) {
    Job.known(step, "name", "newest_first", "include_media", "page_size");
    return ListTurnsRequest.newBuilder()
        .setName(step.get("name").getAsString())
        .setPageSize(pageSize(step))
        .setNewestFirst(Job.flag(step, "newest_first"))
        .setIncludeMedia(Job.flag(step, "include_media"))
        .build();
  }

  private static ForkConversationRequest fork(JsonObject step) {
    Job.known(step, "name", "last_turn", "id");
    ForkConversationRequest.Builder request =
        ForkConversationRequest.newBuilder()
            .setName(step.get("name").getAsString())
            .setConversationId(Job.text(step, "id"));
    if (step.has("last_turn")) {
      request.setLastTurn(step.get("last_turn").getAsInt());
    }
    return request.build();
  }

  private static int pageSize(JsonObject step) {
    return step.has("page_size") ? step.get("page_size").getAsInt() : 0;
  }

  private void conversation(MessageOrBuilder message) throws IOException {
    add("conversation", ResultJson.json(message));
  }

  private void list(String kind, Iterable<? extends MessageOrBuilder> messages)
      throws IOException {
    JsonArray all = new JsonArray();
    for (MessageOrBuilder message : messages) {
      all.add(ResultJson.json(message));
    }
    add(kind, all);
  }

  private void add(String kind, JsonElement value) {
    JsonObject result = new JsonObject();
    result.add(kind, value);
    results.add(result);
  }
}
