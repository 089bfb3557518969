import io.dashgate.Conversation;
import java.util.List;
import java.util.Map;

/** Makes a conversation from a list of messages, and keeps it as JSON: {@code messages}. */
public final class Messages {
  private Messages() {}

  /** Prints the JSON. */
  public static void main(String[] args) {
    // region messages
    Conversation conversation =
        Conversation.fromMessages(
            "qwen3.6-plus",
            List.of(
                Map.of("role", "system", "content", "Answer in one sentence."),
                Map.of("role", "user", "content", "Who wrote the first program?")));
    String json = conversation.toJson();
    conversation = Conversation.fromJson(json);
    // endregion
    System.out.println(conversation.toJson());
  }
}
