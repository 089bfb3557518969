package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.CancelTurnRequest;
import io.dashgate.v1.ForkConversationRequest;
import io.dashgate.v1.HistoryPolicy;
import io.dashgate.v1.ListTurnsRequest;
import io.dashgate.v1.LiveSetup;
import io.dashgate.v1.SynthesisSetup;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.ThrowingConsumer;

/** A gateway that is not there is UNAVAILABLE, and retryable, in every form of call. */
@Timeout(60)
class UnreachableGatewayTest {
  private static final String NAME = "conversations/a";

  private static final CallSettings BRIEF = CallSettings.create().timeout(Duration.ofSeconds(30));

  private static final OutputType<HistoryPolicy> TYPE =
      OutputType.of(HistoryPolicy.getDefaultInstance());

  private static final List<Tool> TOOLS = List.of(Tool.of("clock", "The time.", "", it -> "9:00"));

  @TestFactory
  Stream<DynamicTest> fails() {
    ToolSettings tools = ToolSettings.create().calls(BRIEF);
    ConversationSettings none = ConversationSettings.create();
    Map<String, ThrowingConsumer<DashgateClient>> forms =
        Map.ofEntries(
            Map.entry("converse", it -> it.converse(question(), BRIEF)),
            Map.entry("converseAsync", it -> it.converseAsync(question(), BRIEF).join()),
            Map.entry("stream", it -> it.stream(question(), BRIEF).finalAnswer()),
            Map.entry(
                "streamAsync", it -> it.streamAsync(question(), BRIEF, event -> {}).join()),
            Map.entry("converseAs", it -> it.converseAs(TYPE, question(), true, BRIEF)),
            Map.entry(
                "converseAsAsync", it -> it.converseAsAsync(TYPE, question(), true, BRIEF).join()),
            Map.entry("runTools", it -> it.runTools(question(), TOOLS, tools)),
            Map.entry("runToolsAsync", it -> it.runToolsAsync(question(), TOOLS, tools).join()),
            Map.entry(
                "streamTools", it -> it.streamTools(question(), TOOLS, tools).finalAnswer()),
            Map.entry(
                "streamToolsAsync",
                it -> it.streamToolsAsync(question(), TOOLS, tools, event -> {}).join()),
            Map.entry("upload", it -> it.upload("m", Upload.of(new byte[] {1}), BRIEF)),
            Map.entry("listModels", it -> it.listModels(0, BRIEF).iterator().next()),
            Map.entry("getModel", it -> it.getModel("m", BRIEF)),
            Map.entry("cancelCall", it -> it.cancelCall("r-1", BRIEF)),
            Map.entry("live", it -> it.live(LiveSetup.getDefaultInstance(), BRIEF).next()),
            Map.entry("speak", it -> it.speak(SynthesisSetup.getDefaultInstance(), BRIEF).next()),
            Map.entry("createConversation", it -> it.createConversation("a", none, BRIEF)),
            Map.entry("getConversation", it -> it.getConversation(NAME, BRIEF)),
            Map.entry(
                "listConversations", it -> it.listConversations(0, BRIEF).iterator().next()),
            Map.entry("updateConversation", it -> it.updateConversation(NAME, none, BRIEF)),
            Map.entry("deleteConversation", it -> it.deleteConversation(NAME, BRIEF)),
            Map.entry(
                "listTurns",
                it -> it.listTurns(ListTurnsRequest.getDefaultInstance(), BRIEF).iterator().next()),
            Map.entry("deleteTurn", it -> it.deleteTurn(NAME + "/turns/1", BRIEF)),
            Map.entry(
                "forkConversation",
                it -> it.forkConversation(ForkConversationRequest.getDefaultInstance(), BRIEF)),
            Map.entry(
                "cancelTurn", it -> it.cancelTurn(CancelTurnRequest.getDefaultInstance(), BRIEF)));
    return forms.entrySet().stream()
        .map(form -> DynamicTest.dynamicTest(form.getKey(), () -> fails(form.getValue())));
  }

  private static void fails(ThrowingConsumer<DashgateClient> form) throws Throwable {
    int port;
    try (ServerSocket taken = new ServerSocket(0, 0, InetAddress.getLoopbackAddress())) {
      port = taken.getLocalPort();
    }
    String target = "127.0.0.1:" + port;
    // A channel that was passed has no retries, which would take seconds for each form.
    ManagedChannel channel =
        Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    try (DashgateClient client = DashgateClient.builder().channel(channel).build()) {
      DashgateException fault = fault(client, form);
      assertEquals(Status.Code.UNAVAILABLE, fault.code(), fault::toString);
      assertTrue(fault.retryable());
      assertTrue(fault.retryAfter().isEmpty());
      assertTrue(fault.getMessage().contains(target), fault::getMessage);
    } finally {
      channel.shutdownNow();
    }
  }

  private static DashgateException fault(
      DashgateClient client, ThrowingConsumer<DashgateClient> form) throws Throwable {
    try {
      form.accept(client);
    } catch (DashgateException e) {
      return e;
    } catch (CompletionException e) {
      return (DashgateException) e.getCause();
    }
    throw new AssertionError("the call succeeded");
  }

  private static Conversation question() {
    return new Conversation("m").user("Hello?");
  }
}
