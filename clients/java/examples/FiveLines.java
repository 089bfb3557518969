// region five-lines
import io.dashgate.*;

public class FiveLines {
  public static void main(String[] args) {
    try (DashgateClient client = DashgateClient.create()) {
      Conversation conversation = new Conversation("qwen3.6-plus").user("What can you hear?");
      System.out.println(client.converse(conversation).text());
    }
  }
}
// endregion
