package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.Choice;
import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.HistoryPolicy;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.ToolCall;
import io.dashgate.v1.ToolChoiceMode;
import io.grpc.Context;
import io.grpc.Status;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class ToolLoopTest {
  private final Conversation conversation = new Conversation("qwen3.6-plus", "Be brief.");
  private final List<String> called = new ArrayList<>();
  private FakeGateway gateway;
  private DashgateClient client;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    client = gateway.client().build();
    conversation.user("What is the weather?");
  }

  @AfterEach
  void stop() {
    client.close();
    gateway.close();
  }

  @Test
  void callsUntilNothingMoreIsAsked() {
    plays(
        asks(call("1", "weather", "{\"city\":\"A\"}"), call("2", "no\"ne", "{}")),
        asks(call("3", "weather", "{\"city\":\"B\"}")),
        Message.newBuilder().addContent(Contents.text("sunny")));
    List<Tool> tools = List.of(tool("weather", arguments -> arguments + "!"));
    assertEquals("sunny", client.runTools(conversation, tools).text());
    assertEquals(List.of("{\"city\":\"A\"}", "{\"city\":\"B\"}"), called);
    List<Message> messages = conversation.messages();
    assertEquals(8, messages.size());
    assertEquals(Role.ROLE_TOOL, messages.get(3).getRole());
    assertEquals("1", messages.get(3).getToolCallId());
    assertEquals("{\"city\":\"A\"}!", text(messages.get(3)));
    assertEquals("{\"error\":\"there is no tool no\\\"ne\"}", text(messages.get(4)));
    assertEquals("3", messages.get(6).getToolCallId());
    assertEquals(3, gateway.requests.stream().map(it -> it.getRequestId()).distinct().count());
    assertEquals(1, gateway.requests.get(2).getConversation().getToolsCount());
    assertEquals(
        "weather",
        gateway.requests.get(0).getConversation().getTools(0).getFunction().getName());
  }

  @Test
  void givesUpAfterItsRounds() {
    plays(asks(call("1", "weather", "{}")), asks(call("2", "weather", "{}")));
    DashgateException fault =
        assertThrows(
            DashgateException.class,
            () ->
                client.runTools(
                    conversation,
                    List.of(tool("weather", arguments -> "rain")),
                    ToolSettings.create().maxRounds(1)));
    assertEquals(Status.Code.FAILED_PRECONDITION, fault.code());
    assertEquals("TOOL_ROUNDS", fault.rawReason());
    assertEquals(2, gateway.requests.size());
    assertEquals(1, called.size());
  }

  @Test
  void givesTheFaultOfAFunctionAsItIs() {
    plays(asks(call("1", "weather", "{}"), call("2", "weather", "{}")));
    IllegalStateException own = new IllegalStateException("no thermometer");
    List<Tool> tools =
        List.of(
            tool(
                "weather",
                arguments -> {
                  throw own;
                }));
    assertSame(
        own,
        assertThrows(
            IllegalStateException.class, () -> client.runTools(conversation, tools)));
    // No call stays unanswered.
    List<Message> messages = conversation.raw().getMessagesList();
    Message failed = messages.get(messages.size() - 2);
    Message left = messages.get(messages.size() - 1);
    assertEquals("{\"error\":\"the function failed\"}", text(failed));
    assertEquals("{\"error\":\"the function was not run\"}", text(left));
    assertEquals("2", left.getToolCallId());
  }

  @Test
  void refusesWhatCannotBe() {
    Tool tool = tool("weather", arguments -> "");
    CallSettings named = CallSettings.create().requestId("one");
    assertThrows(
        IllegalArgumentException.class,
        () -> client.runTools(conversation, List.of(tool, tool)));
    assertThrows(IllegalArgumentException.class, () -> ToolSettings.create().calls(named));
    assertThrows(IllegalArgumentException.class, () -> ToolSettings.create().maxRounds(0));
  }

  @Test
  void runsAsynchronously() {
    plays(
        asks(call("1", "weather", "{}")),
        Message.newBuilder().addContent(Contents.text("sunny")));
    List<Tool> tools = List.of(tool("weather", arguments -> "clear"));
    Answer answer = client.runToolsAsync(conversation, tools, ToolSettings.create()).join();
    assertEquals("sunny", answer.text());
    assertEquals(List.of("{}"), called);
    assertEquals(5, conversation.messages().size());
    plays(asks(call("1", "weather", "{}")));
    IllegalStateException own = new IllegalStateException("no thermometer");
    gateway.requests.clear();
    CompletionException fault =
        assertThrows(
            CompletionException.class,
            client.runToolsAsync(
                    conversation, List.of(tool("weather", failing(own))), ToolSettings.create())
                ::join);
    assertSame(own, fault.getCause());
  }

  @Test
  void runsFunctionsAtTheSameTimeAndKeepsTheirOrder() {
    plays(
        asks(call("1", "weather", "a"), call("2", "weather", "b"), call("3", "none", "")),
        Message.newBuilder().addContent(Contents.text("sunny")));
    CyclicBarrier both = new CyclicBarrier(2);
    Context.Key<String> key = Context.key("who");
    List<Tool> tools =
        List.of(
            Tool.of(
                "weather",
                "tells something",
                "",
                arguments -> {
                  await(both);
                  return arguments + key.get();
                }));
    Context.current()
        .withValue(key, "!")
        .run(
            () ->
                client.runTools(conversation, tools, ToolSettings.create().parallel(true)));
    List<Message> messages = conversation.messages();
    assertEquals("a!", text(messages.get(3)));
    assertEquals("b!", text(messages.get(4)));
    assertEquals("{\"error\":\"there is no tool none\"}", text(messages.get(5)));
  }

  @Test
  void answersAllCallsWhenOneOfThemFails() {
    plays(asks(call("1", "bad", "a"), call("2", "weather", "b")));
    IllegalStateException own = new IllegalStateException("no thermometer");
    List<Tool> tools =
        List.of(tool("weather", arguments -> "clear"), tool("bad", failing(own)));
    assertSame(
        own,
        assertThrows(
            IllegalStateException.class,
            () -> client.runTools(conversation, tools, ToolSettings.create().parallel(true))));
    List<Message> messages = conversation.messages();
    assertEquals("{\"error\":\"the function failed\"}", text(messages.get(3)));
    assertEquals("clear", text(messages.get(4)));
  }

  @Test
  void givesATypedValueToAFunction() {
    plays(
        asks(
            call("1", "limit", "{\"maxTurns\":3,\"media\":\"HISTORY_MEDIA_NONE\"}"),
            call("2", "limit", "{\"maxTurns\":3}"),
            call("3", "limit", "three")),
        Message.newBuilder().addContent(Contents.text("done")));
    Tool limit =
        Tool.of(
            "limit",
            "Limits the history.",
            OutputType.of(HistoryPolicy.getDefaultInstance()),
            policy -> policy.getMaxTurns() + " turns");
    client.runTools(conversation, List.of(limit));
    List<Message> messages = conversation.messages();
    assertEquals("3 turns", text(messages.get(3)));
    assertEquals(
        "{\"error\":\"the arguments are invalid: $.media: is missing\"}", text(messages.get(4)));
    assertTrue(text(messages.get(5)).contains("the arguments are invalid"));
  }

  private static Function<String, String> failing(RuntimeException fault) {
    return arguments -> {
      throw fault;
    };
  }

  private static void await(CyclicBarrier barrier) {
    try {
      barrier.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException | BrokenBarrierException | TimeoutException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void conversationGrowsAndComesBack() {
    conversation.assistant("Ask me.").user(Contents.audio("oss://a"), "What is said?");
    conversation.toolChoice(ToolChoiceMode.TOOL_CHOICE_MODE_NONE).toolChoice("weather");
    conversation.tools(tool("weather", it -> it).declaration());
    conversation.tools(
        tool("weather", it -> it).declaration(), tool("time", it -> it).declaration());
    assertEquals(2, conversation.raw().getToolsCount());
    assertEquals("weather", conversation.raw().getToolChoice().getFunctionName());
    assertEquals(
        List.of(Role.ROLE_SYSTEM, Role.ROLE_USER, Role.ROLE_ASSISTANT, Role.ROLE_USER),
        roles());
    Message question = conversation.messages().get(3);
    assertEquals(Content.KindCase.AUDIO, question.getContent(0).getKindCase());
    assertEquals("What is said?", question.getContent(1).getText());
    Conversation copy = Conversation.of(conversation.raw());
    copy.user("more");
    assertEquals(4, conversation.messages().size());
    assertEquals(5, copy.messages().size());
  }

  private List<Role> roles() {
    return conversation.messages().stream().map(Message::getRole).collect(Collectors.toList());
  }

  private Tool tool(String name, Function<String, String> function) {
    return Tool.of(
        name,
        "tells something",
        "{\"type\":\"object\"}",
        arguments -> {
          called.add(arguments);
          return function.apply(arguments);
        });
  }

  private void plays(Message.Builder... messages) {
    gateway.converse =
        (request, out) -> {
          Message.Builder next = messages[gateway.requests.size() - 1];
          out.onNext(
              ConverseResponse.newBuilder()
                  .addChoices(Choice.newBuilder().setMessage(next))
                  .build());
          out.onCompleted();
        };
  }

  private static Message.Builder asks(ToolCall... calls) {
    return Message.newBuilder().setRole(Role.ROLE_ASSISTANT).addAllToolCalls(List.of(calls));
  }

  private static ToolCall call(String id, String name, String arguments) {
    return ToolCall.newBuilder().setId(id).setName(name).setArguments(arguments).build();
  }

  private static String text(Message message) {
    return message.getContent(0).getText();
  }
}
