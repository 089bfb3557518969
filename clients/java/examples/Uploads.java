import io.dashgate.Contents;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.v1.UploadMediaResponse;
import java.nio.file.Path;

/** Uploads a file, and asks about it: {@code uploads [FILE]}. */
public final class Uploads {
  private Uploads() {}

  /** Prints the answer. */
  public static void main(String[] args) {
    Path file = Path.of(args.length > 0 ? args[0] : "../../examples/sentence-en.wav");
    try (DashgateClient client = DashgateClient.create()) {
      // region uploads
      UploadMediaResponse uploaded = client.upload("qwen-audio-turbo", file);
      Conversation conversation = new Conversation("qwen-audio-turbo");
      conversation.user(Contents.audio(uploaded.getUri()), "What is said in this audio?");
      System.out.println(client.converse(conversation).text());
      // endregion
    }
  }
}
