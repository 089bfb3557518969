package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.Heartbeat;
import io.dashgate.v1.Started;
import io.grpc.Metadata;
import io.grpc.Status;
import org.junit.jupiter.api.Test;

class StreamProgressTest {
  @Test
  void delaysDoubleUntilTheAttemptsAreUsedUp() {
    StreamProgress progress = begun(true, true);
    for (long about = 100; about <= 3200; about *= 2) {
      long delay = progress.failed(error(Status.Code.UNAVAILABLE, ""));
      assertTrue(delay >= about * 0.74 && delay <= about * 1.26, "delay " + delay);
    }
    assertEquals(StreamProgress.FIRST, progress.failed(error(Status.Code.UNAVAILABLE, "")));
    assertEquals(6, progress.resumes());
  }

  @Test
  void onlyLostConnectionsAreResumed() {
    assertTrue(begun(true, true).failed(error(Status.Code.UNAVAILABLE, "SHUTTING_DOWN")) > 0);
    assertTrue(begun(true, true).failed(error(Status.Code.UNAVAILABLE, "STORE_DOWN")) > 0);
    assertTrue(begun(true, true).failed(error(Status.Code.INTERNAL, "")) > 0);
    assertTrue(begun(true, true).failed(error(Status.Code.UNKNOWN, "")) > 0);
    assertEquals(
        StreamProgress.FINAL, begun(true, true).failed(error(Status.Code.INTERNAL, "OWNER_LOST")));
    assertEquals(
        StreamProgress.FINAL, begun(true, true).failed(error(Status.Code.CANCELLED, "")));
    DashgateException lost = error(Status.Code.UNAVAILABLE, "");
    assertEquals(StreamProgress.FINAL, begun(false, true).failed(lost));
    assertEquals(StreamProgress.FINAL, begun(true, false).failed(lost));
    assertEquals(StreamProgress.FINAL, new StreamProgress(true, false).failed(lost));
  }

  @Test
  void theErrorOfCallsThatAreGoneIsTheFirst() {
    StreamProgress progress = begun(true, true);
    progress.failed(error(Status.Code.UNAVAILABLE, ""));
    assertEquals(
        StreamProgress.FIRST, progress.failed(error(Status.Code.OUT_OF_RANGE, "RESUME_GAP")));
    assertEquals(
        StreamProgress.FIRST, progress.failed(error(Status.Code.NOT_FOUND, "CALL_NOT_FOUND")));
    assertEquals(StreamProgress.FIRST, progress.failed(error(Status.Code.UNIMPLEMENTED, "")));
    assertEquals(
        StreamProgress.FINAL, progress.failed(error(Status.Code.ABORTED, "CALL_CANCELLED")));
  }

  @Test
  void knownEventsAreNotNewAndLaterOnesEndTheStream() {
    StreamProgress progress = begun(true, true);
    progress.failed(error(Status.Code.UNAVAILABLE, ""));
    ConverseStreamResponse heartbeat =
        ConverseStreamResponse.newBuilder()
            .setSequence(2)
            .setHeartbeat(Heartbeat.getDefaultInstance())
            .build();
    assertEquals(StreamProgress.Received.NEW, progress.received(heartbeat));
    assertEquals(StreamProgress.Received.KNOWN, progress.received(delta(2)));
    assertEquals(StreamProgress.Received.NEW, progress.received(delta(3)));
    assertEquals(StreamProgress.Received.LATER, progress.received(delta(5)));
    assertEquals(3, progress.sequence());
  }

  @Test
  void headersAnnounceBeforeTheStart() {
    StreamProgress progress = new StreamProgress(true, false);
    progress.announced(headers("false"));
    DashgateException lost = error(Status.Code.UNAVAILABLE, "");
    assertEquals(StreamProgress.FINAL, progress.failed(lost));
    progress.announced(headers("true"));
    assertTrue(progress.failed(lost) > 0);
    assertEquals(0, progress.sequence());
    // The start decides.
    progress.received(
        ConverseStreamResponse.newBuilder()
            .setSequence(1)
            .setStarted(Started.getDefaultInstance())
            .build());
    progress.announced(headers("true"));
    assertEquals(StreamProgress.FINAL, progress.failed(lost));
    StreamProgress unwanted = new StreamProgress(false, false);
    unwanted.announced(headers("true"));
    assertEquals(StreamProgress.FINAL, unwanted.failed(lost));
  }

  @Test
  void callsThatWaitForTheirReaderAreLeft() {
    assertTrue(new StreamProgress(true, false).mustLeave(false));
    assertTrue(new StreamProgress(true, true).mustLeave(false));
    assertTrue(new StreamProgress(true, false).mustLeave(true));
    assertFalse(new StreamProgress(true, true).mustLeave(true));
    assertFalse(new StreamProgress(false, false).mustLeave(false));
    assertTrue(begun(true, true).mustLeave(false));
    assertFalse(begun(true, false).mustLeave(false));
  }

  private static Metadata headers(String value) {
    Metadata headers = new Metadata();
    headers.put(
        Metadata.Key.of("dashgate-resumable", Metadata.ASCII_STRING_MARSHALLER), value);
    return headers;
  }

  private static StreamProgress begun(boolean wanted, boolean resumable) {
    StreamProgress progress = new StreamProgress(wanted, false);
    progress.received(
        ConverseStreamResponse.newBuilder()
            .setSequence(1)
            .setStarted(Started.newBuilder().setResumable(resumable))
            .build());
    progress.received(delta(2));
    return progress;
  }

  private static ConverseStreamResponse delta(int sequence) {
    return ConverseStreamResponse.newBuilder()
        .setSequence(sequence)
        .setDelta(Delta.newBuilder().setText("a"))
        .build();
  }

  private static DashgateException error(Status.Code code, String reason) {
    return DashgateException.own(code, reason, "", "");
  }
}
