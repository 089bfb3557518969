import io.dashgate.Answer;
import io.dashgate.Contents;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import java.nio.file.Path;

/** Asks about an audio file in several turns: {@code conversation [FILE]}. */
public final class Dialogue {
  private Dialogue() {}

  /** Prints both answers. */
  public static void main(String[] args) {
    Path recording = Path.of(args.length > 0 ? args[0] : "../../examples/sentence-en.wav");
    try (DashgateClient client = DashgateClient.create()) {
      // region dialogue
      Conversation conversation = new Conversation("qwen-audio-turbo", "Answer in one sentence.");
      conversation.user(Contents.audio(recording), "What is said in this audio?");
      Answer first = client.converse(conversation);
      conversation.append(first);

      conversation.user("And who says it?");
      Answer second = client.converse(conversation);
      conversation.append(second);
      // endregion
      System.out.println(first.text());
      System.out.println(second.text());
    }
  }
}
