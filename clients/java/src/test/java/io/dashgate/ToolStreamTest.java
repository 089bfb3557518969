package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.ToolCall;
import io.grpc.Status;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class ToolStreamTest {
  private final Conversation conversation = new Conversation("m").user("What is the weather?");
  private final List<String> called = new ArrayList<>();
  private FakeGateway gateway;
  private DashgateClient client;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    client = gateway.client().build();
    gateway.stream =
        (request, out) -> {
          out.onNext(FakeGateway.started());
          if (gateway.streamRequests.size() % 2 == 1) {
            out.onNext(FakeGateway.text("Let me see. "));
            out.onNext(toolCall());
          } else {
            out.onNext(FakeGateway.text("Sunny."));
          }
          out.onNext(FakeGateway.completed());
          out.onCompleted();
        };
  }

  @AfterEach
  void stop() {
    client.close();
    gateway.close();
  }

  @Test
  void hasTheEventsOfAllRounds() {
    List<ConverseStreamResponse.EventCase> events = new ArrayList<>();
    try (ToolStream stream = client.streamTools(conversation, List.of(weather()))) {
      for (ConverseStreamResponse event : stream.events()) {
        events.add(event.getEventCase());
        assertEquals(events.size() > 4 ? List.of("{}") : List.of(), called);
      }
      assertEquals("Sunny.", stream.finalAnswer().text());
      assertEquals("Sunny.", stream.partial().orElseThrow().text());
      assertEquals("last", stream.headers().get("x-trailer"));
      assertEquals(gateway.streamRequests.get(1).getRequestId(), stream.requestId());
      assertFalse(stream.hasNext());
      assertThrows(NoSuchElementException.class, stream::next);
    }
    assertEquals(7, events.size());
    assertEquals(4, conversation.messages().size());
  }

  @Test
  void hasTheTextsOfAllRounds() {
    List<String> texts = new ArrayList<>();
    try (ToolStream stream = client.streamTools(conversation, List.of(weather()))) {
      stream.textDeltas().forEach(texts::add);
    }
    assertEquals(List.of("Let me see. ", "Sunny."), texts);
  }

  @Test
  void passesTheEventsOfAllRoundsToAConsumer() {
    List<String> texts = new CopyOnWriteArrayList<>();
    Answer answer =
        client
            .streamToolsAsync(
                conversation,
                List.of(weather()),
                ToolSettings.create(),
                event -> texts.add(event.getDelta().getText()))
            .join();
    assertEquals("Sunny.", answer.text());
    assertEquals(7, texts.size());
  }

  @Test
  void passesTheExceptionOfAFunctionOn() {
    IllegalStateException own = new IllegalStateException("no thermometer");
    Tool broken =
        Tool.of(
            "weather",
            "",
            "",
            arguments -> {
              throw own;
            });
    try (ToolStream stream = client.streamTools(conversation, List.of(broken))) {
      assertSame(own, assertThrows(IllegalStateException.class, stream::finalAnswer));
      assertSame(own, assertThrows(IllegalStateException.class, stream::hasNext));
    }
    assertEquals(3, conversation.messages().size());
  }

  @Test
  void thatIsClosedWhileAFunctionRunsMakesNoOtherCall() throws InterruptedException {
    ToolStream[] streams = new ToolStream[1];
    Tool closing =
        Tool.of(
            "weather",
            "",
            "",
            arguments -> {
              streams[0].close();
              return "clear";
            });
    streams[0] = client.streamTools(conversation, List.of(closing));
    DashgateException fault =
        assertThrows(DashgateException.class, streams[0]::finalAnswer);
    assertEquals(Status.Code.CANCELLED, fault.code());
    assertEquals(1, gateway.streamRequests.size());
  }

  @Test
  void thatIsClosedAfterARoundRunsNoFunction() {
    ToolStream stream = client.streamTools(conversation, List.of(weather()));
    while (!stream.next().hasCompleted()) {
      assertEquals(1, conversation.messages().size());
    }
    stream.close();
    DashgateException fault = assertThrows(DashgateException.class, stream::hasNext);
    assertEquals(Status.Code.CANCELLED, fault.code());
    assertEquals(List.of(), called);
    assertEquals(1, conversation.messages().size());
  }

  private Tool weather() {
    return Tool.of(
        "weather",
        "Returns the weather.",
        "",
        arguments -> {
          called.add(arguments);
          return "clear";
        });
  }

  private static ConverseStreamResponse toolCall() {
    ToolCall call =
        ToolCall.newBuilder().setId("1").setName("weather").setArguments("{}").build();
    return ConverseStreamResponse.newBuilder()
        .setDelta(Delta.newBuilder().setToolCall(call))
        .build();
  }
}
