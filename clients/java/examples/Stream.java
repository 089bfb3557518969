import io.dashgate.Answer;
import io.dashgate.AnswerStream;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateException;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.ErrorReason;
import java.util.concurrent.CompletableFuture;

/** Prints a streamed answer: {@code stream [QUESTION]}. */
public final class Stream {
  private Stream() {}

  /** Reads texts, events, and with a consumer; and handles a failed stream. */
  public static void main(String[] args) {
    String question = args.length > 0 ? args[0] : "Tell me a story.";
    Conversation conversation = new Conversation("qwen3.6-plus").user(question);
    try (DashgateClient client = DashgateClient.create()) {
      // region texts
      try (AnswerStream stream = client.stream(conversation)) {
        for (String text : stream.textDeltas()) {
          System.out.print(text);
        }
        Answer answer = stream.finalAnswer();
        System.out.println("\n" + answer.rawFinishReason());
      }
      // endregion
      failed(client, conversation);
      events(client, conversation);
      consumer(client, conversation);
    }
  }

  private static void failed(DashgateClient client, Conversation conversation) {
    // region failed
    try (AnswerStream stream = client.stream(conversation)) {
      stream.finalAnswer();
    } catch (DashgateException e) {
      // Billed even though the answer is incomplete.
      e.usage().ifPresent(used -> System.err.println(used.getOutputTokens() + " tokens out"));
      if (e.reason() == ErrorReason.CONTENT_BLOCKED) {
        System.err.println("DashScope blocked the answer");
      }
    }
    // endregion
    // region partial
    AnswerStream left = client.stream(conversation);
    left.next();
    left.next();
    left.close();
    left.partial().ifPresent(answer -> System.out.println("so far: " + answer.text()));
    // endregion
  }

  private static void events(DashgateClient client, Conversation conversation) {
    // region events
    try (AnswerStream stream = client.stream(conversation)) {
      for (ConverseStreamResponse event : stream.events()) {
        switch (event.getEventCase()) {
          case DELTA:
            System.out.println(event.getSequence() + " " + event.getDelta().getPartCase());
            break;
          case COMPLETED:
            System.out.println("used " + event.getCompleted().getUsage().getOutputTokens());
            break;
          default: // Started, Heartbeat, and events of newer gateways.
            break;
        }
      }
    }
    // endregion
  }

  private static void consumer(DashgateClient client, Conversation conversation) {
    // region consumer
    CompletableFuture<Answer> answer =
        client.streamAsync(conversation, event -> System.out.print(event.getDelta().getText()));
    System.out.println("\n" + answer.join().text().length() + " characters");
    // endregion
  }
}
