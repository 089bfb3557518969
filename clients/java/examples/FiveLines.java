// region five-lines
import io.dashgate.*;

public class FiveLines {
  private static final String WELCOME =
      "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3";

  public static void main(String[] args) {
    try (DashgateClient client = DashgateClient.create()) {
      Conversation conversation = new Conversation("qwen-audio-turbo");
      conversation.user(Contents.audio(WELCOME), "What is said in this audio?");
      System.out.println(client.converse(conversation).text());
    }
  }
}
// endregion
