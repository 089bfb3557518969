import io.dashgate.Conversation;
import io.dashgate.DashgateClient;

/** Asks a question, and prints the answer. */
public class Ask {
  public static void main(String[] args) {
    try (DashgateClient client = DashgateClient.create()) {
      Conversation conversation = new Conversation("qwen-plus").user("What can you hear?");
      System.out.println(client.converse(conversation).text());
    }
  }
}
