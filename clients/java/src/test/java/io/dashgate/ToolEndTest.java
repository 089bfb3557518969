package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.Choice;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.Message;
import io.dashgate.v1.ToolCall;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A conversation can be continued however a tool loop ends. */
@Timeout(60)
class ToolEndTest extends GatewayTest {
  private static final String FAILED = "{\"error\":\"the function failed\"}";
  private static final String NOT_RUN = "{\"error\":\"the function was not run\"}";

  private final Conversation conversation = new Conversation("m").user("What?");
  @Test
  void ofAnythingThatAFunctionThrows() {
    for (Throwable own :
        List.of(new Exception("undeclared"), new StackOverflowError(), new AssertionError())) {
      Tool tool =
          tool(
              arguments -> {
                if (arguments.equals("1")) {
                  throw Throwables.raise(own);
                }
                return arguments;
              });
      for (boolean parallel : new boolean[] {false, true}) {
        ToolSettings settings = ToolSettings.create().parallel(parallel);
        List<String> results = List.of("0", FAILED, parallel ? "2" : NOT_RUN);
        asks(3);
        assertSame(
            own,
            assertThrows(
                Throwable.class,
                () -> client.runTools(conversation, List.of(tool), settings)));
        assertEquals(results, lastResults());
        assertSame(
            own,
            assertThrows(
                    CompletionException.class,
                    client.runToolsAsync(conversation, List.of(tool), settings)::join)
                .getCause());
        assertEquals(results, lastResults());
        ToolStream stream = client.streamTools(conversation, List.of(tool), settings);
        assertSame(own, assertThrows(Throwable.class, stream::finalAnswer));
        assertSame(own, assertThrows(Throwable.class, stream::hasNext));
        assertEquals(results, lastResults());
      }
    }
  }

  @Test
  void ofAFunctionWithoutAResult() {
    asks(2);
    assertThrows(
        NullPointerException.class,
        () -> client.runTools(conversation, List.of(tool(arguments -> null))));
    assertEquals(List.of(FAILED, NOT_RUN), lastResults());
  }

  @Test
  void afterTheLastRound() {
    asks(2);
    ToolSettings once = ToolSettings.create().maxRounds(1);
    List<Tool> tools = List.of(tool(arguments -> arguments));
    assertThrows(
        DashgateException.class, () -> client.runTools(conversation, tools, once));
    assertEquals(List.of(NOT_RUN, NOT_RUN), lastResults());
  }

  @Test
  void ofALoopThatIsCancelledWhileAFunctionRuns() throws Exception {
    for (boolean parallel : new boolean[] {false, true}) {
      CountDownLatch running = new CountDownLatch(parallel ? 2 : 1);
      CountDownLatch goesOn = new CountDownLatch(1);
      CountDownLatch ended = new CountDownLatch(parallel ? 2 : 1);
      Tool tool =
          tool(
              arguments -> {
                running.countDown();
                await(goesOn);
                ended.countDown();
                return "late";
              });
      asks(2);
      CompletableFuture<Answer> loop =
          client.runToolsAsync(
              conversation, List.of(tool), ToolSettings.create().parallel(parallel));
      await(running);
      loop.cancel(false);
      List<Message> now = conversation.messages();
      assertEquals(List.of(FAILED, parallel ? FAILED : NOT_RUN), lastResults());
      int requests = gateway.requests.size();
      goesOn.countDown();
      await(ended);
      client.converse(conversation);
      assertEquals(now, conversation.messages());
      assertEquals(requests + 1, gateway.requests.size());
    }
  }

  @Test
  void ofAThreadThatIsInterrupted() throws InterruptedException {
    Thread caller = Thread.currentThread();
    CountDownLatch interrupted = new CountDownLatch(1);
    Tool tool =
        tool(
            arguments -> {
              if (arguments.equals("0")) {
                return "done";
              }
              try {
                caller.interrupt();
                new CountDownLatch(1).await();
              } catch (InterruptedException e) {
                interrupted.countDown();
              }
              return "late";
            });
    asks(2);
    ToolSettings parallel = ToolSettings.create().parallel(true);
    DashgateException fault =
        assertThrows(
            DashgateException.class,
            () -> client.runTools(conversation, List.of(tool), parallel));
    assertTrue(Thread.interrupted());
    assertEquals(Status.Code.CANCELLED, fault.code());
    await(interrupted);
    assertEquals(FAILED, lastResults().get(1));
  }

  @Test
  void ofAThreadThatIsInterruptedInOrder() {
    Tool tool =
        tool(
            arguments -> {
              Thread.currentThread().interrupt();
              return "done";
            });
    asks(3);
    DashgateException fault =
        assertThrows(
            DashgateException.class, () -> client.runTools(conversation, List.of(tool)));
    assertTrue(Thread.interrupted());
    assertEquals(Status.Code.CANCELLED, fault.code());
    assertEquals(List.of("done", NOT_RUN, NOT_RUN), lastResults());
    assertEquals(1, gateway.requests.size());
  }

  @Test
  void ofAConsumerThatFails() {
    Exception own = new Exception("undeclared");
    asks(2);
    CompletionException fault =
        assertThrows(
            CompletionException.class,
            client.streamToolsAsync(
                    conversation,
                    List.of(tool(arguments -> arguments)),
                    ToolSettings.create(),
                    event -> {
                      throw Throwables.raise(own);
                    })
                ::join);
    assertSame(own, fault.getCause());
    assertEquals(1, conversation.messages().size());
  }

  @Test
  void sixteenFunctionsRunAtOnce() {
    CyclicBarrier together = new CyclicBarrier(ToolRound.AT_ONCE);
    AtomicInteger running = new AtomicInteger();
    AtomicInteger most = new AtomicInteger();
    Tool tool =
        tool(
            arguments -> {
              most.accumulateAndGet(running.incrementAndGet(), Math::max);
              try {
                together.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS);
              } catch (Exception e) {
                throw Throwables.raise(e);
              } finally {
                running.decrementAndGet();
              }
              return arguments;
            });
    asks(3 * ToolRound.AT_ONCE);
    client.runTools(conversation, List.of(tool), ToolSettings.create().parallel(true));
    assertEquals(16, most.get());
    Message[] messages = conversation.messages().toArray(new Message[0]);
    for (int at = 0; at < 48; at++) {
      assertEquals("" + at, messages[2 + at].getContent(0).getText());
    }
  }

  /** The model requests these functions, and answers when their results are there. */
  private void asks(int count) {
    List<ToolCall> calls = new ArrayList<>();
    for (int at = 0; at < count; at++) {
      calls.add(
          ToolCall.newBuilder()
              .setIndex(at)
              .setId("call-" + at)
              .setName("tool")
              .setArguments("" + at)
              .build());
    }
    gateway.converse =
        (request, out) -> {
          List<Message> sent = request.getConversation().getMessagesList();
          boolean isDone = count > 3 && sent.size() > count;
          Message.Builder message = Message.newBuilder();
          if (!isDone) {
            message.addAllToolCalls(calls);
          }
          out.onNext(
              ConverseResponse.newBuilder()
                  .addChoices(Choice.newBuilder().setMessage(message))
                  .build());
          out.onCompleted();
        };
    gateway.stream =
        (request, out) -> {
          out.onNext(FakeGateway.started());
          for (ToolCall call : calls) {
            out.onNext(
                ConverseStreamResponse.newBuilder()
                    .setDelta(Delta.newBuilder().setToolCall(call))
                    .build());
          }
          out.onNext(FakeGateway.completed());
          out.onCompleted();
        };
  }

  /** Returns the results after the last answer, which are those of its calls in their order. */
  private List<String> lastResults() {
    List<Message> messages = conversation.messages();
    int answer = messages.size() - 1;
    while (messages.get(answer).getToolCallsCount() == 0) {
      answer--;
    }
    List<Message> results = messages.subList(answer + 1, messages.size());
    assertEquals(
        messages.get(answer).getToolCallsList().stream()
            .map(ToolCall::getId)
            .collect(Collectors.toList()),
        results.stream().map(Message::getToolCallId).collect(Collectors.toList()));
    return results.stream().map(it -> it.getContent(0).getText()).collect(Collectors.toList());
  }

  private static Tool tool(Function<String, String> function) {
    return Tool.of("tool", "does something", "", function);
  }

  private static void await(CountDownLatch latch) {
    try {
      assertTrue(latch.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }
}
