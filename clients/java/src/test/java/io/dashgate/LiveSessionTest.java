package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.dashgate.v1.ConverseLiveRequest;
import io.dashgate.v1.ConverseLiveResponse;
import io.dashgate.v1.LiveSetup;
import io.dashgate.v1.ResumeSession;
import io.dashgate.v1.SynthesisSetup;
import io.dashgate.v1.UpdateSession;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class LiveSessionTest extends GatewayTest {
  private static final String MODEL = "qwen3-omni-flash-realtime";

  @Test
  void sendsEachKindOfMessageInOrder() {
    script(FakeLive.untilHalfClose());
    try (LiveSession session = client.live(MODEL)) {
      session.sendAudio(new byte[320]);
      session.sendImage(new byte[10]);
      session.sendText("Hello");
      session.commit();
      session.clear();
      session.createResponse("Be brief.", List.of("text"));
      session.cancelResponse();
      session.sendToolResult("call-1", "21");
      session.update(UpdateSession.newBuilder().setInstructions("Be kind.").build());
      session.deleteItem("item-1");
      session.finish();
      session.finish();
      assertEquals(List.of(1, 2), sequences(session));
    }
    List<String> kinds = new ArrayList<>();
    gateway.live.received.forEach(message -> kinds.add(message.getEventCase().name()));
    assertEquals(
        List.of(
            "SETUP",
            "AUDIO",
            "IMAGE",
            "TEXT",
            "COMMIT",
            "CLEAR",
            "CREATE_RESPONSE",
            "CANCEL_RESPONSE",
            "TOOL_RESULT",
            "UPDATE",
            "DELETE_ITEM",
            "EVENT_NOT_SET"),
        kinds);
    assertEquals(MODEL, gateway.live.received.get(0).getSetup().getModel());
    assertEquals("Be brief.", gateway.live.received.get(6).getCreateResponse().getInstructions());
    assertEquals("call-1", gateway.live.received.get(8).getToolResult().getToolCallId());
  }

  @Test
  void describesTheSession() {
    script(FakeLive.untilHalfClose());
    try (LiveSession session = client.live(MODEL)) {
      assertEquals("", session.sessionId());
      assertTrue(session.next().hasSessionStarted());
      assertEquals("session-1", session.sessionId());
      assertEquals(1, session.resumption().orElseThrow().getLastSequence());
      assertTrue(session.ended().isEmpty());
      session.finish();
      assertTrue(session.next().hasSessionEnded());
      assertFalse(session.hasNext());
      assertThrows(NoSuchElementException.class, session::next);
      assertEquals(1, session.ended().orElseThrow().getResponses());
      assertEquals(0, session.resumes());
      String sent = gateway.headers.get(0).get(FakeGateway.key("x-request-id"));
      assertEquals(sent, session.requestId());
      assertThrows(IllegalStateException.class, () -> session.sendText("late"));
    }
  }

  @Test
  void resumesAndSkipsRepeatedEvents() {
    script(
        (message, out) -> {
          out.onNext(FakeLive.started(1, false));
          out.onNext(FakeLive.text(2, "Good "));
          out.onError(Status.UNAVAILABLE.asRuntimeException());
        });
    script(
        (message, out) -> {
          if (message.hasSetup()) {
            out.onNext(FakeLive.started(2, true));
            out.onNext(FakeLive.text(2, "Good "));
            out.onNext(FakeLive.text(3, "day"));
          } else {
            out.onNext(FakeLive.ended(4));
            out.onCompleted();
          }
        });
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      session.next();
      assertTrue(session.next().getSessionStarted().getResumed());
      assertEquals("day", session.next().getResponseDelta().getText());
      session.finish();
      assertEquals(List.of(4), sequences(session));
      assertEquals(1, session.resumes());
    }
    ResumeSession resume = gateway.live.received.get(1).getSetup().getResume();
    assertEquals("token-1", resume.getToken());
    assertEquals(2, resume.getLastSequence());
  }

  @Test
  void endsTheInputOfAResumedStreamAgain() {
    script(
        (message, out) -> {
          if (message.hasSetup()) {
            out.onNext(FakeLive.started(1, false));
          } else {
            out.onError(Status.UNAVAILABLE.asRuntimeException());
          }
        });
    script(
        (message, out) -> {
          if (!message.hasSetup()) {
            out.onNext(FakeLive.started(1, true));
            out.onNext(FakeLive.ended(2));
            out.onCompleted();
          }
        });
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      session.finish();
      assertEquals(List.of(1, 2), sequences(session));
      assertEquals(1, session.resumes());
    }
  }

  @Test
  void senderResumesWhenNothingIsUnread() throws Exception {
    script(
        (message, out) -> {
          out.onNext(FakeLive.started(1, false));
          if (!message.hasSetup()) {
            out.onError(Status.UNAVAILABLE.asRuntimeException());
          }
        });
    script(FakeLive.untilHalfClose(FakeLive.started(1, true)));
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      session.sendText("lost");
      session.next();
      while (session.resumes() == 0) {
        session.sendText("sent");
        TimeUnit.MILLISECONDS.sleep(1);
      }
      session.finish();
      assertEquals(List.of(1, 2), sequences(session));
    }
  }

  @Test
  void unreadEventsPrecedeTheEndForASenderToo() throws Exception {
    script(
        (message, out) -> {
          out.onNext(FakeLive.started(1, false));
          out.onNext(FakeLive.text(2, "last words"));
          out.onError(Status.ABORTED.asRuntimeException());
        });
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      // The end of the stream is received behind the event.
      TimeUnit.MILLISECONDS.sleep(300);
      session.sendText("lost");
      assertEquals("last words", session.next().getResponseDelta().getText());
      DashgateException fault = assertThrows(DashgateException.class, session::hasNext);
      assertEquals(Status.Code.ABORTED, fault.code());
      assertTrue(fault.outputStarted());
      fault = assertThrows(DashgateException.class, () -> session.sendText("late"));
      assertEquals(Status.Code.ABORTED, fault.code());
    }
  }

  @Test
  void failsWithoutSessionEnded() {
    script(
        (message, out) -> {
          out.onNext(FakeLive.started(1, false));
          out.onCompleted();
        });
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      DashgateException fault = assertThrows(DashgateException.class, session::hasNext);
      assertEquals("STREAM_TRUNCATED", fault.rawReason());
      assertEquals(session.requestId(), fault.requestId());
      assertFalse(fault.outputStarted());
    }
  }

  @Test
  void closeCancelsTheCallAndWakesReaders() throws Exception {
    script(FakeLive.untilHalfClose());
    LiveSession session = client.live(MODEL);
    session.next();
    CompletableFuture<Boolean> reader = CompletableFuture.supplyAsync(session::hasNext);
    assertThrows(TimeoutException.class, () -> reader.get(100, TimeUnit.MILLISECONDS));
    session.close();
    assertEquals(Status.Code.CANCELLED, fault(reader).code());
    assertEquals(
        "live", gateway.live.cancelled.poll(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
    DashgateException late =
        assertThrows(DashgateException.class, () -> session.sendText("late"));
    assertEquals(Status.Code.CANCELLED, late.code());
  }

  @Test
  void closeOfTheClientEndsSessions() {
    script(FakeLive.untilHalfClose());
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      client.close();
      session.finish();
      DashgateException fault = assertThrows(DashgateException.class, session::hasNext);
      assertEquals(Status.Code.CANCELLED, fault.code());
    }
  }

  @Test
  void closeOfTheClientEndsASender() {
    script(FakeLive.untilHalfClose());
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      CompletableFuture<Void> sender =
          CompletableFuture.runAsync(
              () -> {
                while (true) {
                  session.sendText("Hello");
                }
              });
      assertThrows(TimeoutException.class, () -> sender.get(100, TimeUnit.MILLISECONDS));
      client.close();
      assertEquals(Status.Code.CANCELLED, fault(sender).code());
    }
  }

  @Test
  void closeOfTheClientEndsAResumption() throws Exception {
    script(
        (message, out) -> {
          out.onNext(FakeLive.started(1, false));
          Metadata trailers = new Metadata();
          trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), "1000");
          out.onError(Status.UNAVAILABLE.asRuntimeException(trailers));
        });
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      CompletableFuture<Boolean> reader = CompletableFuture.supplyAsync(session::hasNext);
      assertThrows(TimeoutException.class, () -> reader.get(300, TimeUnit.MILLISECONDS));
      client.close();
      assertEquals(Status.Code.CANCELLED, fault(reader).code());
    }
  }

  @Test
  void aDelayEndsAtTheDeadline() {
    script(
        (message, out) -> {
          out.onNext(FakeLive.started(1, false));
          Metadata trailers = new Metadata();
          trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), "5000");
          out.onError(Status.UNAVAILABLE.asRuntimeException(trailers));
        });
    LiveSetup setup = LiveSetup.newBuilder().setModel(MODEL).build();
    CallSettings brief = CallSettings.create().timeout(Duration.ofMillis(500));
    long begun = System.nanoTime();
    try (LiveSession session = client.live(setup, brief)) {
      session.next();
      DashgateException late = assertThrows(DashgateException.class, session::hasNext);
      assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    }
    assertTrue(System.nanoTime() - begun < TimeUnit.SECONDS.toNanos(5));
  }

  @Test
  void endsTheCallWithTheInterruptedThread() throws Exception {
    script(FakeLive.untilHalfClose());
    try (LiveSession session = client.live(MODEL)) {
      session.next();
      Thread.currentThread().interrupt();
      DashgateException fault = assertThrows(DashgateException.class, session::hasNext);
      assertTrue(Thread.interrupted());
      assertEquals(Status.Code.CANCELLED, fault.code());
      assertEquals(
          "live", gateway.live.cancelled.poll(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
    }
  }

  @Test
  void nothingIsSentAfterFinish() {
    script(FakeLive.untilHalfClose());
    try (LiveSession session = client.live(MODEL)) {
      session.finish();
      assertThrows(IllegalStateException.class, () -> session.sendText("late"));
    }
  }

  @Test
  void senderWaitsWhileTheGatewayDoesNotReceive() throws Exception {
    gateway.live.isStalled = true;
    script(FakeLive.untilHalfClose());
    ByteString piece = ByteString.copyFrom(new byte[64 << 10]);
    int all = 1000;
    AtomicInteger sent = new AtomicInteger();
    LiveSession session = client.live(MODEL);
    session.next();
    CompletableFuture<Void> sender =
        CompletableFuture.runAsync(
            () -> {
              while (sent.get() < all) {
                session.sendAudio(piece);
                sent.incrementAndGet();
              }
            });
    assertThrows(TimeoutException.class, () -> sender.get(1, TimeUnit.SECONDS));
    assertTrue(sent.get() < all / 10, "sent to a gateway that does not receive: " + sent);
    session.close();
    assertEquals(Status.Code.CANCELLED, fault(sender).code());
  }

  @Test
  void speaksATextAndReturnsItsAudio() {
    SynthesisSetup setup = SynthesisSetup.newBuilder().setModel("qwen3-tts-flash-realtime").build();
    try (SpeechSession session = client.speak(setup)) {
      session.sendText("Good ");
      session.sendText("");
      session.sendText("day");
      session.finish();
      StringBuilder audio = new StringBuilder();
      session.audio().forEach(piece -> audio.append(piece.toStringUtf8()));
      assertEquals("Good day", audio.toString());
      assertTrue(session.ended().isPresent());
      assertThrows(NoSuchElementException.class, () -> session.audio().iterator().next());
    }
    assertEquals(setup, gateway.live.spoken.get(0).getSetup());
  }

  private void script(BiConsumer<ConverseLiveRequest, StreamObserver<ConverseLiveResponse>> it) {
    gateway.live.scripts.add(it);
  }

  private static List<Integer> sequences(LiveSession session) {
    List<Integer> sequences = new ArrayList<>();
    session.events().forEach(event -> sequences.add(event.getSequence()));
    return sequences;
  }

  private static DashgateException fault(CompletableFuture<?> future) {
    Throwable cause = assertThrows(CompletionException.class, future::join).getCause();
    return (DashgateException) cause;
  }
}
