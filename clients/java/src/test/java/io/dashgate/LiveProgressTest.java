package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import io.dashgate.v1.CallFailure;
import io.dashgate.v1.ResumeSession;
import io.dashgate.v1.SessionEnded;
import io.dashgate.v1.Usage;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class LiveProgressTest {
  @Test
  void resumesAfterTheLastEvent() {
    LiveProgress progress = fresh();
    assertEquals(Optional.empty(), progress.resumption());
    progress.started(1, FakeLive.session(false));
    assertTrue(progress.received(2, true, null));
    ResumeSession expected =
        ResumeSession.newBuilder()
            .setSessionId("session-1")
            .setToken("token-1")
            .setLastSequence(2)
            .build();
    assertEquals(Optional.of(expected), progress.resumption());
    assertEquals(Optional.of(expected), new LiveProgress("other", expected).resumption());
  }

  @Test
  void countsARepeatedEventOnce() {
    LiveProgress progress = started();
    assertTrue(progress.received(2, true, null));
    progress.started(2, FakeLive.session(true));
    assertFalse(progress.received(2, true, null));
    assertTrue(progress.received(3, true, null));
    // Events without a number belong to no position.
    assertTrue(progress.received(0, true, null));
  }

  @Test
  void resumesWhatALostConnectionEnded() {
    started().broken(fault(Status.UNAVAILABLE));
    started().broken(fault(Status.INTERNAL));
    started().broken(fault(Status.UNKNOWN));
    started().broken(own(Status.Code.UNAVAILABLE, "SHUTTING_DOWN"));
  }

  @Test
  void doesNotResumeWhatTheGatewayEnded() {
    isFinal(started(), own(Status.Code.INTERNAL, "STREAM_TRUNCATED"));
    isFinal(started(), fault(Status.ABORTED));
    isFinal(started(), fault(Status.DEADLINE_EXCEEDED));
    isFinal(started(), fault(Status.CANCELLED));
    isFinal(started(), fault(Status.NOT_FOUND));
  }

  @Test
  void doesNotResumeWhatHasNotStartedOrHasEnded() {
    isFinal(fresh(), fault(Status.UNAVAILABLE));
    LiveProgress progress = started();
    progress.received(2, false, SessionEnded.getDefaultInstance());
    isFinal(progress, fault(Status.UNAVAILABLE));
  }

  @Test
  void throwsTheFirstErrorAfterTheLastAttempt() {
    LiveProgress progress = started();
    progress.received(2, true, null);
    DashgateException first = fault(Status.UNAVAILABLE);
    progress.broken(first);
    for (int attempt = 1; attempt < ResumeBackoff.ATTEMPTS; attempt++) {
      progress.broken(fault(Status.UNAVAILABLE));
    }
    DashgateException last = fault(Status.UNAVAILABLE);
    assertSame(first, assertThrows(DashgateException.class, () -> progress.broken(last)));
    assertTrue(first.outputStarted());
    assertEquals(ResumeBackoff.ATTEMPTS, progress.resumes());
  }

  @Test
  void countsAttemptsFromTheLastEvent() {
    LiveProgress progress = started();
    for (int number = 2; number < 12; number++) {
      long delay = progress.broken(fault(Status.UNAVAILABLE));
      assertTrue(delay <= 125, "the delay is that of a first attempt: " + delay);
      progress.started(number - 1, FakeLive.session(true));
      assertTrue(progress.received(number, false, null));
    }
    assertEquals(10, progress.resumes());
  }

  @Test
  void waitsLongerBeforeEachAttempt() {
    LiveProgress progress = started();
    for (int attempt = 0; attempt < ResumeBackoff.ATTEMPTS; attempt++) {
      long usual = 100L << attempt;
      long delay = progress.broken(fault(Status.UNAVAILABLE));
      assertTrue(delay >= usual * 0.75 && delay <= usual * 1.25, attempt + ": " + delay);
    }
  }

  @Test
  void waitsAsLongAsTheGatewayAsksUpToALimit() {
    assertEquals(2500, started().broken(pushedBack("2500")));
    assertEquals(5000, started().broken(pushedBack("60000")));
  }

  @Test
  void keepsTheUsageOfTheStreamThatBroke() {
    LiveProgress progress = started();
    progress.broken(failure());
    DashgateException last = fault(Status.NOT_FOUND);
    isFinal(progress, last);
    assertEquals(7, last.usage().orElseThrow().getOutputTokens());
    assertFalse(last.outputStarted());
  }

  @Test
  void reportsAnEndWithoutTheLastEvent() {
    LiveProgress progress = started();
    assertEquals("STREAM_TRUNCATED", progress.completed().rawReason());
    progress.received(2, false, SessionEnded.getDefaultInstance());
    assertNull(progress.completed());
    assertTrue(progress.ended().isPresent());
  }

  private static void isFinal(LiveProgress progress, DashgateException error) {
    assertSame(error, assertThrows(DashgateException.class, () -> progress.broken(error)));
  }

  private static LiveProgress fresh() {
    return new LiveProgress("request-1", ResumeSession.getDefaultInstance());
  }

  private static LiveProgress started() {
    LiveProgress progress = fresh();
    progress.started(1, FakeLive.session(false));
    return progress;
  }

  private static DashgateException fault(Status status) {
    return DashgateException.from(status, new Metadata(), "request-1");
  }

  private static DashgateException own(Status.Code code, String reason) {
    return DashgateException.own(code, reason, "message", "request-1");
  }

  private static DashgateException pushedBack(String millis) {
    Metadata trailers = new Metadata();
    trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), millis);
    return DashgateException.from(Status.UNAVAILABLE, trailers, "request-1");
  }

  private static DashgateException failure() {
    CallFailure failure =
        CallFailure.newBuilder().setUsage(Usage.newBuilder().setOutputTokens(7)).build();
    com.google.rpc.Status details =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.UNAVAILABLE.value())
            .addDetails(Any.pack(failure))
            .build();
    Metadata trailers = StatusProto.toStatusException(details).getTrailers();
    return DashgateException.from(Status.UNAVAILABLE, trailers, "request-1");
  }
}
