import io.dashgate.Answer;
import io.dashgate.Contents;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import java.nio.file.Path;

/** Asks about an audio file: {@code ask [FILE [QUESTION]]}. */
public final class Ask {
  private Ask() {}

  /** Prints the answer and its usage. */
  public static void main(String[] args) {
    Path recording = Path.of(args.length > 0 ? args[0] : "../../examples/sentence-en.wav");
    String question = args.length > 1 ? args[1] : "What is said in this audio?";
    try (DashgateClient client = DashgateClient.create()) {
      // region ask
      Conversation conversation = new Conversation("qwen-audio-turbo");
      conversation.user(Contents.audio(recording), question);
      Answer answer = client.converse(conversation);
      System.out.println(answer.text());
      if (answer.usage().hasInputTokens()) { // Not every model reports every count.
        System.out.println(answer.usage().getInputTokens() + " tokens in");
      }
      // endregion
    }
  }
}
