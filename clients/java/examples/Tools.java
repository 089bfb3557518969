import com.google.gson.Gson;
import io.dashgate.Answer;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.OutputType;
import io.dashgate.Tool;
import io.dashgate.ToolSettings;
import io.dashgate.ToolStream;
import java.util.List;

/** Runs a function that the model calls: {@code tools [QUESTION]}. */
public final class Tools {
  private Tools() {}

  /** Prints the last answer. */
  public static void main(String[] args) {
    String question = args.length > 0 ? args[0] : "What is the weather in Hangzhou?";
    try (DashgateClient client = DashgateClient.create()) {
      // region tools
      Tool weather =
          Tool.of(
              "weather",
              "Returns the weather of a city.",
              "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}",
              arguments -> "{\"sky\":\"clear\",\"celsius\":21}");
      Conversation conversation = new Conversation("qwen3.6-plus").user(question);
      Answer answer = client.runTools(conversation, List.of(weather));
      System.out.println(answer.text());
      // endregion
      stream(client, weather, question);
      typed(client, question);
    }
  }

  private static void stream(DashgateClient client, Tool weather, String question) {
    Conversation conversation = new Conversation("qwen3.6-plus").user(question);
    // region stream
    ToolSettings settings = ToolSettings.create().maxRounds(3).parallel(true);
    try (ToolStream stream = client.streamTools(conversation, List.of(weather), settings)) {
      for (String text : stream.textDeltas()) {
        System.out.print(text);
      }
      System.out.println("\n" + stream.finalAnswer().rawFinishReason());
    }
    // endregion
  }

  private static void typed(DashgateClient client, String question) {
    // region typed
    OutputType<Place> place =
        OutputType.of(
            "Place",
            "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}",
            json -> new Gson().fromJson(json, Place.class));
    Tool weather =
        Tool.of("weather", "Returns the weather.", place, it -> "It is clear in " + it.city);
    // endregion
    Conversation conversation = new Conversation("qwen3.6-plus").user(question);
    System.out.println(client.runTools(conversation, List.of(weather)).text());
  }

  /** The arguments of the function. */
  private static final class Place {
    String city;
  }
}
