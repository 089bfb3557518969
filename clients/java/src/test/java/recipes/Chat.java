package recipes;

import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateException;
import io.dashgate.Tool;
import io.dashgate.ToolStream;
import java.io.PrintStream;
import java.util.List;
import java.util.Scanner;

/** A chat whose model calls functions. */
public final class Chat {
  private Chat() {}

  // region chat
  /** Answers each line with a stream; the model may look up orders. */
  public static void chat(DashgateClient client, Scanner lines, PrintStream out) {
    Tool orders =
        Tool.of(
            "order_state",
            "Returns the state of an order.",
            "{\"type\":\"object\",\"properties\":{\"number\":{\"type\":\"string\"}}}",
            arguments -> "{\"state\":\"shipped\"}");
    Conversation conversation = new Conversation("qwen3.6-plus", "You help customers of a shop.");
    while (lines.hasNextLine()) {
      Conversation before = Conversation.of(conversation.raw()); // A copy.
      conversation.user(lines.nextLine());
      // Answers and results are appended to the conversation.
      try (ToolStream answer = client.streamTools(conversation, List.of(orders))) {
        for (String text : answer.textDeltas()) {
          out.print(text);
          out.flush();
        }
        out.println();
      } catch (DashgateException e) {
        conversation = before; // The line can be asked again.
        out.println(e.code() + " " + e.rawReason());
      }
    }
  }
  // endregion
}
