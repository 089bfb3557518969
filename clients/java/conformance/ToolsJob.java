import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.dashgate.Answer;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.Tool;
import io.dashgate.ToolSettings;
import io.dashgate.ToolStream;
import io.dashgate.v1.ConverseStreamResponse;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Runs a tool loop whose functions return what the job says. */
final class ToolsJob {
  private final JsonObject result;
  private final JsonArray called;

  ToolsJob(JsonObject result, JsonArray called) {
    this.result = result;
    this.called = called;
  }

  void run(DashgateClient client, JsonObject call) throws IOException {
    Job.known(
        call, "do", "model", "question", "tools", "results", "max_rounds", "options", "stream",
        "parallel");
    List<Tool> tools = tools(call);
    Conversation conversation = new Conversation(call.get("model").getAsString());
    conversation.user(call.get("question").getAsString());
    ToolSettings settings =
        ToolSettings.create().calls(Job.settings(call)).parallel(Job.flag(call, "parallel"));
    if (call.has("max_rounds")) {
      settings = settings.maxRounds(call.get("max_rounds").getAsInt());
    }
    JsonArray answers = new JsonArray();
    result.add("answers", answers);
    try {
      Answer answer =
          Job.flag(call, "stream")
              ? streamed(client, conversation, tools, settings)
              : client.runTools(conversation, tools, settings);
      answers.add(ResultJson.answer(answer));
    } finally {
      result.add("conversation", ResultJson.json(conversation.raw()));
    }
  }

  private Answer streamed(
      DashgateClient client, Conversation conversation, List<Tool> tools, ToolSettings settings)
      throws IOException {
    JsonArray events = new JsonArray();
    result.add("events", events);
    try (ToolStream stream = client.streamTools(conversation, tools, settings)) {
      for (ConverseStreamResponse event : stream.events()) {
        events.add(ResultJson.json(event));
      }
      return stream.finalAnswer();
    }
  }

  private List<Tool> tools(JsonObject call) {
    JsonObject results = call.getAsJsonObject("results");
    List<Tool> tools = new ArrayList<>();
    for (JsonElement element : call.getAsJsonArray("tools")) {
      JsonObject tool = element.getAsJsonObject();
      Job.known(tool, "name", "description", "parameters");
      String name = tool.get("name").getAsString();
      tools.add(
          Tool.of(
              name,
              Job.text(tool, "description"),
              Job.text(tool, "parameters"),
              arguments -> {
                note(name, arguments);
                return results.get(name).getAsString();
              }));
    }
    return tools;
  }

  /** Functions may run at the same time. */
  private void note(String name, String arguments) {
    JsonObject entry = new JsonObject();
    entry.addProperty("name", name);
    entry.addProperty("arguments", arguments);
    synchronized (called) {
      called.add(entry);
    }
  }
}
