package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.ErrorReason;
import io.dashgate.v1.FinishReason;
import io.dashgate.v1.Heartbeat;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class AnswerStreamTest {
  private static final Duration SHORT = Duration.ofMillis(50);

  private FakeGateway gateway;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
  }

  @AfterEach
  void stop() {
    gateway.close();
  }

  @Test
  void hasTheAnswerSoFar() {
    gateway.stream =
        (request, out) -> {
          out.onNext(
              ConverseStreamResponse.newBuilder().setHeartbeat(Heartbeat.newBuilder()).build());
          out.onNext(FakeGateway.started());
          out.onNext(FakeGateway.text("Hel"));
          out.onNext(FakeGateway.text("lo"));
          out.onError(Status.DATA_LOSS.asException());
        };
    try (DashgateClient client = gateway.client().build();
        AnswerStream stream = client.stream(new Conversation("qwen3.6-plus").user("Hello?"))) {
      assertTrue(stream.partial().isEmpty());
      stream.next();
      assertTrue(stream.partial().isEmpty());
      assertEquals("first", stream.headers().get("x-initial"));
      stream.next();
      assertEquals("", stream.partial().orElseThrow().text());
      stream.next();
      assertEquals("Hel", stream.partial().orElseThrow().text());
      DashgateException fault = assertThrows(DashgateException.class, stream::finalAnswer);
      assertEquals("first", fault.headers().get("x-initial"));
      assertEquals("last", fault.headers().get("x-trailer"));
      Answer partial = stream.partial().orElseThrow();
      assertEquals("Hello", partial.text());
      assertEquals(FinishReason.FINISH_REASON_UNSPECIFIED, partial.finishReason());
      assertEquals("last", stream.headers().get("x-trailer"));
      assertEquals(partial.raw(), stream.partial().orElseThrow().raw());
      assertEquals(partial.raw(), fault.partial().orElseThrow().raw());
      CompletionException observed =
          assertThrows(
              CompletionException.class,
              client.streamAsync(new Conversation("m").user("Hello?"), event -> {})::join);
      DashgateException cause = (DashgateException) observed.getCause();
      assertEquals("Hello", cause.partial().orElseThrow().text());
      assertTrue(cause.outputStarted());
    }
  }

  @Test
  void hasTheHeadersOfItsResponse() {
    Conversation question = new Conversation("qwen3.6-plus").user("Hello?");
    try (DashgateClient client = gateway.client().build();
        AnswerStream stream = client.stream(question)) {
      Answer streamed = stream.finalAnswer();
      Answer observed = client.streamAsync(question, event -> {}).join();
      for (Answer answer : List.of(streamed, observed, client.converse(question))) {
        assertEquals("first", answer.headers().get("x-initial"));
        assertEquals("last", answer.headers().get("x-trailer"));
      }
    }
    assertEquals(Map.of(), Answer.of(ConverseResponse.getDefaultInstance()).headers());
  }

  @Test
  void givesTextsOfTheFirstChoiceAlone() {
    plays(
        FakeGateway.started(),
        FakeGateway.text("Good "),
        FakeGateway.text(""),
        ConverseStreamResponse.newBuilder()
            .setDelta(Delta.newBuilder().setChoiceIndex(1).setText("other"))
            .build(),
        ConverseStreamResponse.newBuilder()
            .setDelta(Delta.newBuilder().setReasoningText("hm"))
            .build(),
        FakeGateway.text("day"),
        FakeGateway.completed());
    try (DashgateClient client = gateway.client().build();
        AnswerStream stream = client.stream(question())) {
      List<String> texts = new ArrayList<>();
      stream.textDeltas().forEach(texts::add);
      assertEquals(List.of("Good ", "day"), texts);
      assertEquals("Good day", stream.finalAnswer().text());
      assertEquals("hm", stream.finalAnswer().reasoningText());
      assertFalse(stream.hasNext());
      assertThrows(NoSuchElementException.class, stream::next);
    }
  }

  @Test
  void failsWithoutCompleted() {
    plays(FakeGateway.started(), FakeGateway.text("Half an"));
    try (DashgateClient client = gateway.client().build();
        AnswerStream stream = client.stream(question())) {
      stream.next();
      stream.next();
      DashgateException fault = assertThrows(DashgateException.class, stream::hasNext);
      assertEquals(Status.Code.INTERNAL, fault.code());
      assertEquals(ErrorReason.STREAM_TRUNCATED, fault.reason());
      assertTrue(fault.outputStarted());
      assertEquals(stream.requestId(), fault.requestId());
      assertSame(fault, assertThrows(DashgateException.class, stream::finalAnswer));
      CompletableFuture<Answer> answer = client.streamAsync(question(), event -> {});
      DashgateException later = fault(answer);
      assertEquals("STREAM_TRUNCATED", later.rawReason());
      assertTrue(later.outputStarted());
    }
  }

  @Test
  void failsWhenNothingComes() throws InterruptedException {
    gateway.stream = (request, out) -> out.onNext(FakeGateway.started());
    try (DashgateClient client = gateway.client().idleTimeout(SHORT).build();
        AnswerStream stream = client.stream(question())) {
      DashgateException fault = assertThrows(DashgateException.class, stream::finalAnswer);
      assertEquals(Status.Code.DEADLINE_EXCEEDED, fault.code());
      assertEquals("STREAM_IDLE", fault.rawReason());
      assertEquals(stream.requestId(), gateway.awaitCancelled());
      DashgateException later = fault(client.streamAsync(question(), event -> {}));
      assertEquals("STREAM_IDLE", later.rawReason());
      assertEquals(later.requestId(), gateway.awaitCancelled());
    }
  }

  @Test
  void livesAsLongAsHeartbeatsCome() {
    ConverseStreamResponse heartbeat =
        ConverseStreamResponse.newBuilder().setHeartbeat(Heartbeat.newBuilder()).build();
    AtomicInteger sent = new AtomicInteger();
    gateway.stream =
        (request, out) -> {
          CompletableFuture<Void> ticks = CompletableFuture.completedFuture(null);
          for (int tick = 0; tick < 12; tick++) {
            ticks =
                ticks.thenRunAsync(
                    () -> {
                      sent.incrementAndGet();
                      out.onNext(heartbeat);
                    },
                    CompletableFuture.delayedExecutor(250, TimeUnit.MILLISECONDS));
          }
          ticks.thenRun(
              () -> {
                out.onNext(FakeGateway.completed());
                out.onCompleted();
              });
        };
    // Twelve heartbeats last longer than the idle timeout, but none of them is that late.
    try (DashgateClient client = gateway.client().idleTimeout(Duration.ofSeconds(2)).build()) {
      client.stream(question()).finalAnswer();
      client.streamAsync(question(), event -> {}).join();
    }
    assertEquals(24, sent.get());
  }

  @Test
  void doesNotCallASlowReaderAnIdleGateway() {
    plays(FakeGateway.started(), FakeGateway.text("Hello"), FakeGateway.completed());
    try (DashgateClient client = gateway.client().idleTimeout(Duration.ofSeconds(2)).build()) {
      Answer answer =
          client
              .streamAsync(
                  question(),
                  event -> {
                    if (event.hasStarted()) {
                      occupied(Duration.ofMillis(2500));
                    }
                  })
              .join();
      assertEquals("Hello", answer.text());
    }
  }

  @Test
  void endsTheCallWhenClosed() throws InterruptedException {
    gateway.stream = (request, out) -> out.onNext(FakeGateway.started());
    try (DashgateClient client = gateway.client().build()) {
      String name;
      try (AnswerStream stream = client.stream(question())) {
        name = stream.requestId();
        assertTrue(stream.next().hasStarted());
      }
      assertEquals(name, gateway.awaitCancelled());
    }
  }

  @Test
  void endsTheCallWithItsThread() throws Exception {
    gateway.stream = (request, out) -> out.onNext(FakeGateway.started());
    try (DashgateClient client = gateway.client().build()) {
      AnswerStream stream = client.stream(question());
      stream.next();
      Thread.currentThread().interrupt();
      DashgateException fault = assertThrows(DashgateException.class, stream::hasNext);
      assertTrue(Thread.interrupted());
      assertEquals(Status.Code.CANCELLED, fault.code());
      assertEquals(stream.requestId(), gateway.awaitCancelled());
    }
  }

  @Test
  void endsTheCallWithTheFutureOrTheConsumersFault() throws InterruptedException {
    gateway.stream = (request, out) -> out.onNext(FakeGateway.started());
    try (DashgateClient client = gateway.client().build()) {
      CountDownLatch begun = new CountDownLatch(1);
      CompletableFuture<Answer> answer =
          client.streamAsync(question(), event -> begun.countDown());
      assertTrue(begun.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
      answer.cancel(true);
      assertEquals(gateway.streamRequests.get(0).getRequestId(), gateway.awaitCancelled());

      IllegalStateException own = new IllegalStateException("no room");
      CompletionException fault =
          assertThrows(
              CompletionException.class,
              () ->
                  client
                      .streamAsync(
                          question(),
                          event -> {
                            throw own;
                          })
                      .join());
      assertSame(own, fault.getCause());
      assertEquals(gateway.streamRequests.get(1).getRequestId(), gateway.awaitCancelled());
    }
  }

  @Test
  void asksForNoMoreThanItReads() throws InterruptedException {
    ConverseStreamResponse large = FakeGateway.text("x".repeat(1_000_000));
    AtomicInteger sent = new AtomicInteger();
    CountDownLatch stuck = new CountDownLatch(1);
    int all = 60;
    gateway.stream =
        (request, out) -> {
          ServerCallStreamObserver<ConverseStreamResponse> call =
              (ServerCallStreamObserver<ConverseStreamResponse>) out;
          Runnable send =
              () -> {
                while (call.isReady() && sent.get() < all) {
                  call.onNext(large);
                  if (sent.incrementAndGet() == all) {
                    call.onNext(FakeGateway.completed());
                    call.onCompleted();
                  }
                }
                stuck.countDown();
              };
          call.setOnReadyHandler(send);
        };
    try (DashgateClient client = gateway.client().build();
        AnswerStream stream = client.stream(question())) {
      assertTrue(stream.hasNext());
      assertTrue(stuck.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
      assertTrue(sent.get() < all / 2, "sent without being asked: " + sent);
      assertEquals(60_000_000, stream.finalAnswer().text().length());
    }
  }

  private void plays(ConverseStreamResponse... events) {
    gateway.stream =
        (request, out) -> {
          play(out, events);
          out.onCompleted();
        };
  }

  private static void play(
      StreamObserver<ConverseStreamResponse> out, ConverseStreamResponse... events) {
    for (ConverseStreamResponse event : events) {
      out.onNext(event);
    }
  }

  /** Blocks the thread for this long, as a slow reader. */
  private static void occupied(Duration duration) {
    new CompletableFuture<Void>()
        .completeOnTimeout(null, duration.toMillis(), TimeUnit.MILLISECONDS)
        .join();
  }

  private static DashgateException fault(CompletableFuture<Answer> answer) {
    Throwable cause = assertThrows(CompletionException.class, answer::join).getCause();
    return (DashgateException) cause;
  }

  private static Conversation question() {
    return new Conversation("qwen3.6-plus").user("Hello?");
  }
}
