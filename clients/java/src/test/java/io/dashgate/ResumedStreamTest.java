package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Streams whose connection is lost, or that are left. */
@Timeout(60)
class ResumedStreamTest {
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
  void continuesAfterLostConnections() {
    for (boolean observed : new boolean[] {false, true}) {
      gateway.streamRequests.clear();
      plays(
          lost(Status.UNAVAILABLE, events(1, started(), text("a"), text("b"))),
          lost(Status.INTERNAL, events(4, text("c"))),
          // One that was received is not reported again.
          lost(Status.UNAVAILABLE, events(4, text("c"), text("d"))),
          ends(events(6, FakeGateway.completed())));
      try (DashgateClient client = gateway.client().build()) {
        Answer answer =
            observed
                ? client.streamAsync(question(), event -> {}).join()
                : client.stream(question()).finalAnswer();
        assertEquals("abcd", answer.text());
      }
      assertEquals(
          List.of(0, 3, 4, 5),
          gateway.streamRequests.stream()
              .map(request -> request.getAfterSequence())
              .collect(Collectors.toList()));
      assertEquals(
          1,
          gateway.streamRequests.stream()
              .map(request -> request.getRequestId())
              .distinct()
              .count());
    }
    assertTrue(gateway.cancelCalls.isEmpty());
  }

  @Test
  void countsAttempts() {
    plays(
        lost(Status.UNAVAILABLE, events(1, started())), ends(events(2, FakeGateway.completed())));
    try (DashgateClient client = gateway.client().build();
        AnswerStream stream = client.stream(question())) {
      stream.finalAnswer();
      assertEquals(1, stream.resumes());
    }
  }

  @Test
  void endsWithALossAfterTheLastEvent() {
    plays(lost(Status.UNAVAILABLE, events(1, started(), text("a"), FakeGateway.completed())));
    try (DashgateClient client = gateway.client().build()) {
      assertEquals("a", client.stream(question()).finalAnswer().text());
    }
    assertEquals(1, gateway.streamRequests.size());
  }

  @Test
  void failsWithTheFirstErrorIfTheCallIsGone() {
    for (Status gone : List.of(Status.OUT_OF_RANGE, Status.NOT_FOUND, Status.UNIMPLEMENTED)) {
      plays(lost(Status.UNAVAILABLE, events(1, started(), text("a"))), lost(gone, List.of()));
      DashgateException fault = failure(CallSettings.create());
      assertEquals(Status.Code.UNAVAILABLE, fault.code());
      assertTrue(fault.outputStarted());
    }
    plays(
        lost(Status.UNAVAILABLE, events(1, started(), text("a"))),
        ends(events(4, text("late"), FakeGateway.completed())));
    assertEquals(Status.Code.UNAVAILABLE, failure(CallSettings.create()).code());
    plays(
        lost(Status.UNAVAILABLE, events(1, started(), text("a"))),
        lost(Status.ABORTED, List.of()));
    assertEquals(Status.Code.ABORTED, failure(CallSettings.create()).code());
  }

  @Test
  void isNotResumedIfTheCallerOptsOutOrTheGatewayIsOlder() {
    plays(lost(Status.UNAVAILABLE, events(1, started())));
    failure(CallSettings.create().resume(false));
    plays(lost(Status.UNAVAILABLE, List.of(FakeGateway.started(), text("a"))));
    failure(CallSettings.create());
    assertEquals(2, gateway.streamRequests.size());
    assertTrue(gateway.cancelCalls.isEmpty());
  }

  @Test
  void cancelsItsCallWhenItIsLeft() throws InterruptedException {
    plays(waits(events(1, started())), waits(events(1, started())), waits(events(1, started())));
    AnswerStream stream;
    try (DashgateClient client = gateway.client().build()) {
      stream = client.stream(question());
      stream.next();
      stream.close();
    }
    // Closing the client has waited for it.
    assertEquals(stream.requestId(), gateway.cancelCalls.poll());
    try (DashgateClient client = gateway.client().build()) {
      client.stream(question()).next();
    }
    assertEquals(1, gateway.cancelCalls.size());
    gateway.cancelCalls.clear();
    try (DashgateClient client = gateway.client().build()) {
      Context.CancellableContext context = Context.current().withCancellation();
      AnswerStream other = context.wrap(() -> client.stream(question())).call();
      other.next();
      context.cancel(null);
      assertThrows(DashgateException.class, other::finalAnswer);
      assertEquals(other.requestId(), gateway.cancelCalls.poll(20, TimeUnit.SECONDS));
    } catch (InterruptedException e) {
      throw e;
    } catch (Exception e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void cancelsItsCallAtTheDeadlineUnlessItHasAGivenId() throws InterruptedException {
    CallSettings brief = CallSettings.create().timeout(Duration.ofMillis(500));
    plays(waits(events(1, started())));
    DashgateException late = failure(brief);
    assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    assertEquals(late.requestId(), gateway.cancelCalls.poll(20, TimeUnit.SECONDS));
    plays(waits(events(1, started())));
    failure(brief.requestId("mine"));
    assertTrue(gateway.cancelCalls.isEmpty());
  }

  @Test
  void aDelayEndsAtTheDeadlineOfTheCallOrOfTheContext() throws Exception {
    plays(lostFor("5000"));
    long begun = System.nanoTime();
    DashgateException late = failure(CallSettings.create().timeout(Duration.ofMillis(500)));
    assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    assertEquals(late.requestId(), gateway.cancelCalls.poll(20, TimeUnit.SECONDS));
    plays(lostFor("5000"));
    ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
    try (Context.CancellableContext context =
        Context.current().withDeadlineAfter(500, TimeUnit.MILLISECONDS, timer)) {
      CallSettings named = CallSettings.create().requestId("mine");
      late = context.call(() -> failure(named));
    } finally {
      timer.shutdownNow();
    }
    assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    assertTrue(gateway.cancelCalls.isEmpty());
    assertTrue(System.nanoTime() - begun < TimeUnit.SECONDS.toNanos(5));
  }

  @Test
  void cancelsNothingThatEndsWithItsConnection() {
    plays(waits(events(1, started())), waits(List.of(FakeGateway.started())));
    try (DashgateClient client = gateway.client().build()) {
      AnswerStream stream = client.stream(question(), CallSettings.create().resume(false));
      stream.next();
      stream.close();
      stream = client.stream(question());
      stream.next();
      stream.close();
    }
    assertTrue(gateway.cancelCalls.isEmpty());
  }

  @Test
  void cancellationEndsTheWaitForAnotherAttempt() {
    plays(lost(Status.UNAVAILABLE, events(1, started())));
    try (DashgateClient client = gateway.client().build()) {
      AnswerStream stream = client.stream(question());
      stream.next();
      while (stream.resumes() == 0) {
        Thread.onSpinWait();
      }
      stream.close();
      DashgateException fault = assertThrows(DashgateException.class, stream::finalAnswer);
      assertEquals(Status.Code.CANCELLED, fault.code());
      assertEquals(stream.requestId(), gateway.cancelCalls.poll(20, TimeUnit.SECONDS));
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void cancelsCallsByTheirRequestId() {
    try (DashgateClient client = gateway.client().build()) {
      client.cancelCall("mine");
    }
    assertEquals("mine", gateway.cancelCalls.poll());
  }

  @Test
  void failsIfItsCallEndsBeforeTheRequestIsSent() {
    // Its listeners are called by the method that starts the call.
    ManagedChannel channel =
        Grpc.newChannelBuilder("localhost:1", InsecureChannelCredentials.create())
            .directExecutor()
            .build();
    channel.shutdownNow();
    try (DashgateClient client = DashgateClient.builder().channel(channel).build()) {
      assertEquals(Status.Code.UNAVAILABLE, failure(client, CallSettings.create()).code());
    }
  }

  private DashgateException failure(CallSettings settings) {
    try (DashgateClient client = gateway.client().build()) {
      return failure(client, settings);
    }
  }

  private static DashgateException failure(DashgateClient client, CallSettings settings) {
    return (DashgateException)
        assertThrows(
                CompletionException.class,
                () -> client.streamAsync(question(), settings, event -> {}).join())
            .getCause();
  }

  /** What one connection has of a stream. */
  private interface Part {
    void play(StreamObserver<ConverseStreamResponse> out);
  }

  private void plays(Part... parts) {
    Queue<Part> left = new ArrayDeque<>(List.of(parts));
    gateway.stream =
        (request, out) -> {
          Part part = left.poll();
          if (part != null) {
            part.play(out);
          }
        };
  }

  private static Part waits(List<ConverseStreamResponse> events) {
    return out -> events.forEach(out::onNext);
  }

  private static Part ends(List<ConverseStreamResponse> events) {
    return out -> {
      events.forEach(out::onNext);
      out.onCompleted();
    };
  }

  private static Part lost(Status status, List<ConverseStreamResponse> events) {
    // With this pushback, the retry policy does not repeat the attempt.
    return lost(status, events, "-1");
  }

  /** A stream that is lost, and resumed after these milliseconds. */
  private static Part lostFor(String millis) {
    return lost(Status.UNAVAILABLE, events(1, started()), millis);
  }

  private static Part lost(
      Status status, List<ConverseStreamResponse> events, String pushback) {
    Metadata trailers = new Metadata();
    trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), pushback);
    return out -> {
      events.forEach(out::onNext);
      out.onError(status.asRuntimeException(trailers));
    };
  }

  private static ConverseStreamResponse started() {
    ConverseStreamResponse.Builder event = FakeGateway.started().toBuilder();
    event.getStartedBuilder().setResumable(true);
    return event.build();
  }

  private static ConverseStreamResponse text(String text) {
    return FakeGateway.text(text);
  }

  private static List<ConverseStreamResponse> events(
      int first, ConverseStreamResponse... events) {
    ConverseStreamResponse[] numbered = events.clone();
    for (int at = 0; at < numbered.length; at++) {
      numbered[at] = numbered[at].toBuilder().setSequence(first + at).build();
    }
    return List.of(numbered);
  }

  private static Conversation question() {
    return new Conversation("m").user(Contents.text("Hello"));
  }
}
