package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.dashgate.v1.CancelTurnRequest;
import io.dashgate.v1.Completed;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.CreateConversationRequest;
import io.dashgate.v1.DeleteTurnRequest;
import io.dashgate.v1.ForkConversationRequest;
import io.dashgate.v1.HistoryPolicy;
import io.dashgate.v1.HistoryUsed;
import io.dashgate.v1.ListTurnsRequest;
import io.dashgate.v1.UpdateConversationRequest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class StoredConversationTest extends GatewayTest {
  private static final String NAME = "conversations/order-17";

  @Test
  void sendsWhatIsNewAndExpectsTheLatestTurn() {
    gateway.converse =
        (request, out) -> {
          out.onNext(
              ConverseResponse.newBuilder().setHistoryUsed(turn(gateway.requests.size())).build());
          out.onCompleted();
        };
    gateway.stream =
        (request, out) -> {
          out.onNext(FakeGateway.started());
          out.onNext(
              ConverseStreamResponse.newBuilder()
                  .setCompleted(Completed.newBuilder().setHistoryUsed(turn(3)))
                  .build());
          out.onCompleted();
        };
    Conversation conversation = Conversation.named(NAME, "qwen3.6-plus").system("Be brief.");
    conversation.tools(Tool.of("clock", "The time.", "", arguments -> "9:00").declaration());
    assertEquals(NAME, conversation.name());
    assertEquals(OptionalInt.empty(), conversation.lastTurn());
    conversation.append(client.converse(conversation.user("One?")));
    assertEquals(List.of(), conversation.messages());
    assertEquals(OptionalInt.of(1), conversation.lastTurn());
    conversation.append(client.converse(conversation.user("Two?")));
    try (AnswerStream stream = client.stream(conversation.user("Three?"))) {
      conversation.append(stream.finalAnswer());
    }
    assertEquals(OptionalInt.of(3), conversation.lastTurn());
    assertEquals(1, conversation.raw().getToolsCount());
    assertFalse(gateway.requests.get(0).hasExpectedTurn());
    assertEquals(1, gateway.requests.get(1).getExpectedTurn());
    assertEquals(1, gateway.requests.get(1).getConversation().getMessagesCount());
    assertEquals(2, gateway.streamRequests.get(0).getExpectedTurn());
  }

  @Test
  void saysWhatHistoryIsSent() {
    HistoryPolicy none = HistoryPolicy.newBuilder().setMaxTurns(0).build();
    CallSettings settings = CallSettings.create().expectedTurn(0).history(none);
    Conversation conversation = Conversation.of(client.getConversation(NAME)).user("Next?");
    assertEquals(OptionalInt.of(7), conversation.lastTurn());
    client.converse(conversation, settings);
    client.streamAsync(conversation, settings, event -> {}).join();
    assertEquals(0, gateway.requests.get(0).getExpectedTurn());
    assertEquals(none, gateway.requests.get(0).getHistory());
    assertEquals(none, gateway.streamRequests.get(0).getHistory());
    assertThrows(
        IllegalArgumentException.class, () -> CallSettings.create().expectedTurn(-1));
  }

  @Test
  void isCreatedAndChanged() {
    ConversationSettings settings =
        ConversationSettings.create()
            .model("qwen3.6-plus")
            .labels(Map.of("team", "red"))
            .ttl(Duration.ofMillis(1500));
    assertEquals(NAME, client.createConversation("order-17", settings).getName());
    CreateConversationRequest created =
        (CreateConversationRequest) gateway.store.storeRequests.get(0);
    assertEquals("red", created.getConversation().getLabelsOrThrow("team"));
    assertEquals(500_000_000, created.getConversation().getTtl().getNanos());
    client.updateConversation(NAME, ConversationSettings.create().labels(Map.of()));
    UpdateConversationRequest updated =
        (UpdateConversationRequest) gateway.store.storeRequests.get(1);
    assertEquals(List.of("labels"), updated.getUpdateMask().getPathsList());
    assertEquals(NAME, updated.getConversation().getName());
    client.updateConversation(NAME, settings);
    assertEquals(
        List.of("model", "labels", "ttl"),
        ((UpdateConversationRequest) gateway.store.storeRequests.get(2))
            .getUpdateMask()
            .getPathsList());
  }

  @Test
  void isListedInPages() {
    List<String> names = new ArrayList<>();
    client.listConversations().forEach(it -> names.add(it.getName()));
    assertEquals(List.of("a", "b"), names);
    ListTurnsRequest newest =
        ListTurnsRequest.newBuilder().setName(NAME).setNewestFirst(true).build();
    List<Integer> numbers = new ArrayList<>();
    client.listTurns(newest, CallSettings.create()).forEach(it -> numbers.add(it.getNumber()));
    client.listTurns(NAME).forEach(it -> numbers.add(it.getNumber()));
    assertEquals(List.of(1, 2, 1, 2), numbers);
    ListTurnsRequest second = (ListTurnsRequest) gateway.store.storeRequests.get(3);
    assertEquals("second", second.getPageToken());
    assertEquals(true, second.getNewestFirst());
  }

  @Test
  void isForkedCancelledAndDeleted() {
    ForkConversationRequest fork =
        ForkConversationRequest.newBuilder()
            .setName(NAME)
            .setLastTurn(2)
            .setConversationId("copy")
            .build();
    assertEquals(
        "conversations/copy", client.forkConversation(fork, CallSettings.create()).getName());
    assertEquals("running", client.cancelTurn(NAME).getRequestId());
    client.deleteTurn(NAME + "/turns/2");
    client.deleteConversation(NAME);
    assertEquals(
        CancelTurnRequest.newBuilder().setName(NAME).build(),
        gateway.store.storeRequests.get(1));
    assertEquals(
        DeleteTurnRequest.newBuilder().setName(NAME + "/turns/2").build(),
        gateway.store.storeRequests.get(2));
  }

  @Test
  void isCreatedOnce() {
    gateway.store.failures.set(1);
    assertThrows(
        DashgateException.class, () -> client.createConversation(ConversationSettings.create()));
    gateway.store.failures.set(1);
    assertThrows(DashgateException.class, () -> client.forkConversation(NAME));
    assertEquals(2, gateway.store.storeRequests.size());
    gateway.store.failures.set(1);
    client.createConversation("order-17", ConversationSettings.create());
    assertEquals(4, gateway.store.storeRequests.size());
  }

  private static HistoryUsed turn(int number) {
    return HistoryUsed.newBuilder().setTurn(number).build();
  }
}
