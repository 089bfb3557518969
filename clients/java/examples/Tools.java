import io.dashgate.Answer;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.Tool;
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
    }
  }
}
