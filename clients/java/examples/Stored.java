import io.dashgate.Conversation;
import io.dashgate.ConversationSettings;
import io.dashgate.DashgateClient;
import io.dashgate.v1.Turn;

/** Continues a conversation that the gateway stores: {@code stored}, at a gateway with a store. */
public final class Stored {
  private Stored() {}

  /** Prints two answers, and the turns that are stored. */
  public static void main(String[] args) {
    try (DashgateClient client = DashgateClient.create()) {
      // region stored
      ConversationSettings settings = ConversationSettings.create().model("qwen3.6-plus");
      String name = client.createConversation(settings).getName();

      Conversation conversation = Conversation.named(name);
      conversation.user("My name is Ada.");
      conversation.append(client.converse(conversation));
      conversation.user("What is my name?"); // The only message that is sent.
      System.out.println(client.converse(conversation).text());
      for (Turn turn : client.listTurns(name)) {
        System.out.println(turn.getNumber() + " " + turn.getState());
      }
      // endregion
      client.deleteConversation(name);
    }
  }
}
