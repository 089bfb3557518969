package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.CancelTurnRequest;
import io.dashgate.v1.DeleteConversationRequest;
import io.dashgate.v1.DeleteTurnRequest;
import io.dashgate.v1.ForkConversationRequest;
import io.dashgate.v1.ListTurnsRequest;
import io.dashgate.v1.UpdateConversationRequest;
import io.grpc.Context;
import io.grpc.Status;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The management of stored conversations and models with futures. */
@Timeout(60)
class AsyncManagementTest extends GatewayTest {
  private static final String NAME = "conversations/order-17";
  private static final CallSettings CALL = CallSettings.create();

  private final List<String> found = new CopyOnWriteArrayList<>();
  @Test
  void makesTheCalls() {
    ConversationSettings settings = ConversationSettings.create().labels(Map.of("team", "red"));
    assertEquals(
        NAME, client.createConversationAsync("order-17", settings, CALL).join().getName());
    assertEquals(7, client.getConversationAsync(NAME, CALL).join().getLastTurn());
    assertEquals(
        "red",
        client.updateConversationAsync(NAME, settings, CALL).join().getLabelsOrThrow("team"));
    ForkConversationRequest fork =
        ForkConversationRequest.newBuilder().setName(NAME).setConversationId("copy").build();
    assertEquals(
        "conversations/copy", client.forkConversationAsync(fork, CALL).join().getName());
    CancelTurnRequest cancel = CancelTurnRequest.newBuilder().setName(NAME).build();
    assertEquals("running", client.cancelTurnAsync(cancel, CALL).join().getRequestId());
    assertNull(client.deleteTurnAsync(NAME + "/turns/2", CALL).join());
    assertNull(client.deleteConversationAsync(NAME, CALL).join());
    List<?> requests = gateway.store.storeRequests;
    assertEquals(
        List.of("labels"),
        ((UpdateConversationRequest) requests.get(2)).getUpdateMask().getPathsList());
    assertEquals(
        DeleteTurnRequest.newBuilder().setName(NAME + "/turns/2").build(), requests.get(5));
    assertEquals(
        DeleteConversationRequest.newBuilder().setName(NAME).build(), requests.get(6));
    assertEquals("m", client.getModelAsync("m", CALL).join().getName());
    assertNull(client.cancelCallAsync("r-1", CALL).join());
    assertEquals("r-1", gateway.cancelCalls.poll());
  }

  @Test
  void passesAllPagesToAConsumer() throws Exception {
    Context.Key<String> who = Context.key("who");
    Context.current()
        .withValue(who, "me")
        .call(
            () ->
                client.listConversationsAsync(
                    5, CALL, it -> found.add(it.getName() + who.get())))
        .join();
    assertEquals(List.of("ame", "bme"), found);
    found.clear();
    ListTurnsRequest newest =
        ListTurnsRequest.newBuilder().setName(NAME).setNewestFirst(true).build();
    client.listTurnsAsync(newest, CALL, it -> found.add("" + it.getNumber())).join();
    client.listModelsAsync(1, CALL, it -> found.add(it.getName())).join();
    assertEquals(List.of("1", "2", "a", "b"), found);
    assertEquals(
        newest.toBuilder().setPageToken("second").build(), gateway.store.storeRequests.get(3));
  }

  @Test
  void endsAListWithItsConsumerItsFutureAndAnError() {
    Exception own = new Exception("undeclared");
    CompletionException fault =
        assertThrows(
            CompletionException.class,
            client.listModelsAsync(
                    1,
                    CALL,
                    it -> {
                      throw Throwables.raise(own);
                    })
                ::join);
    assertSame(own, fault.getCause());
    CompletableFuture<CompletableFuture<Void>> list = new CompletableFuture<>();
    list.complete(
        client.listConversationsAsync(
            1,
            CALL,
            it -> {
              found.add(it.getName());
              list.join().cancel(false);
            }));
    assertThrows(RuntimeException.class, list.join()::join);
    client.getModel("m");
    assertEquals(List.of("a"), found);
    assertEquals(1, gateway.store.storeRequests.size());
    gateway.store.failures.set(1);
    ConversationSettings settings = ConversationSettings.create();
    fault =
        assertThrows(
            CompletionException.class,
            client.createConversationAsync("", settings, CALL)::join);
    assertEquals(Status.Code.UNAVAILABLE, ((DashgateException) fault.getCause()).code());
    assertEquals(2, gateway.store.storeRequests.size());
    assertTrue(client.listModels().iterator().hasNext());
  }
}
