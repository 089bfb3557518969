import com.google.gson.Gson;
import io.dashgate.CallSettings;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.OutputType;
import io.dashgate.TypedAnswer;

/** Prints an answer that is a value of a type: {@code structured [QUESTION]}. */
public final class Structured {
  private Structured() {}

  /** Asks for a city. */
  public static void main(String[] args) {
    String question = args.length > 0 ? args[0] : "Which city has the most bridges?";
    try (DashgateClient client = DashgateClient.create()) {
      Conversation conversation = new Conversation("qwen3.6-plus").user(question);
      // region structured
      OutputType<City> type =
          OutputType.of(
              "City",
              "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},"
                  + "\"bridges\":{\"type\":\"integer\"}},\"required\":[\"name\",\"bridges\"]}",
              json -> new Gson().fromJson(json, City.class));
      TypedAnswer<City> answer =
          client.converseAs(type, conversation, true, CallSettings.create());
      System.out.println(answer.value().name + ": " + answer.value().bridges);
      // endregion
    }
  }

  /** The answer. */
  private static final class City {
    String name;
    int bridges;
  }
}
