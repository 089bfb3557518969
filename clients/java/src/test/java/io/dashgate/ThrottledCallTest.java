package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.RetryInfo;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Heartbeat;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class ThrottledCallTest {
  private static final Conversation QUESTION = new Conversation("qwen3.6-plus").user("Hello?");

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
  void isMadeAgainAsOftenAsTheClientSays() {
    throttle(2);
    try (DashgateClient client = gateway.client().maxRetries(2).build()) {
      client.converse(QUESTION);
      client.converseAsync(QUESTION).join();
    }
    assertEquals(4, gateway.requests.size());
    assertEquals(
        gateway.requests.get(0).getRequestId(), gateway.requests.get(2).getRequestId());
  }

  @Test
  void isMadeAgainAsOftenAsItSaysItself() {
    throttle(9);
    try (DashgateClient client = gateway.client().maxRetries(5).build()) {
      CallSettings once = CallSettings.create().maxRetries(1);
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(QUESTION, once));
      assertTrue(fault.retryable());
    }
    assertEquals(2, gateway.requests.size());
  }

  @Test
  void isNotMadeAgainByDefaultOrWithoutATime() {
    throttle(1);
    try (DashgateClient client = gateway.client().build()) {
      assertThrows(DashgateException.class, () -> client.converse(QUESTION));
    }
    gateway.converse = (request, out) -> out.onError(Status.RESOURCE_EXHAUSTED.asException());
    try (DashgateClient client = gateway.client().maxRetries(3).build()) {
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(QUESTION));
      assertFalse(fault.retryable());
    }
    assertEquals(2, gateway.requests.size());
  }

  @Test
  void isNotMadeAgainAfterItsDeadline() {
    gateway.converse = (request, out) -> out.onError(throttled("60000"));
    try (DashgateClient client =
        gateway.client().maxRetries(3).timeout(Duration.ofSeconds(30)).build()) {
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(QUESTION));
      assertEquals(Duration.ofMinutes(1), fault.retryAfter().orElseThrow());
    }
    assertEquals(1, gateway.requests.size());
  }

  @Test
  void ofAStreamIsMadeAgainBeforeAnyEvent() {
    gateway.stream =
        (request, out) -> {
          if (gateway.streamRequests.size() == 1) {
            out.onError(throttled("1"));
            return;
          }
          out.onNext(FakeGateway.started());
          out.onNext(FakeGateway.completed());
          out.onCompleted();
        };
    try (DashgateClient client = gateway.client().maxRetries(1).build();
        AnswerStream stream = client.stream(QUESTION)) {
      stream.finalAnswer();
      assertEquals(2, gateway.streamRequests.size());
      gateway.streamRequests.clear();
      client.streamAsync(QUESTION, event -> {}).join();
      assertEquals(2, gateway.streamRequests.size());
    }
  }

  @Test
  void ofAStreamIsNotMadeAgainAfterAnEvent() {
    gateway.stream =
        (request, out) -> {
          out.onNext(
              ConverseStreamResponse.newBuilder().setHeartbeat(Heartbeat.newBuilder()).build());
          out.onError(throttled("1"));
        };
    try (DashgateClient client = gateway.client().maxRetries(3).build();
        AnswerStream stream = client.stream(QUESTION)) {
      assertThrows(DashgateException.class, stream::finalAnswer);
    }
    assertEquals(1, gateway.streamRequests.size());
  }

  @Test
  void waitsForTheTimeAndATenthMore() {
    List<Duration> waits = new ArrayList<>();
    ThrottleRule rule = new ThrottleRule(100, waits::add);
    Metadata trailers = new Metadata();
    trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), "1000");
    for (int at = 0; at < 100; at++) {
      rule.after(Status.RESOURCE_EXHAUSTED, trailers);
    }
    assertEquals(100, waits.size());
    assertTrue(waits.stream().allMatch(it -> it.toMillis() >= 1000 && it.toMillis() <= 1100));
    assertTrue(waits.stream().distinct().count() > 1);
    assertTrue(rule.after(Status.RESOURCE_EXHAUSTED, trailers).isEmpty());
  }

  @Test
  void mayHaveToWaitForEver() {
    com.google.rpc.Status status =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.RESOURCE_EXHAUSTED.value())
            .addDetails(
                Any.pack(
                    RetryInfo.newBuilder()
                        .setRetryDelay(
                            com.google.protobuf.Duration.newBuilder().setSeconds(Long.MAX_VALUE))
                        .build()))
            .build();
    gateway.converse = (request, out) -> out.onError(StatusProto.toStatusException(status));
    try (DashgateClient client = gateway.client().maxRetries(3).build()) {
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(QUESTION));
      assertEquals(Long.MAX_VALUE, fault.retryAfter().orElseThrow().getSeconds());
    }
  }

  @Test
  void isNotIdleWhileItWaits() {
    AtomicLong now = new AtomicLong(Duration.ofDays(1).toNanos());
    IdleClock idle = new IdleClock(Duration.ofSeconds(10), now::get);
    long since = idle.now();
    now.addAndGet(Duration.ofSeconds(4).toNanos());
    assertEquals(Duration.ofSeconds(6).toNanos(), idle.left(since));
    idle.pause(Duration.ofSeconds(60));
    assertEquals(Duration.ofSeconds(70).toNanos(), idle.left(since));
    now.addAndGet(Duration.ofSeconds(65).toNanos());
    assertEquals(Duration.ofSeconds(5).toNanos(), idle.left(since));
    assertEquals(Duration.ofSeconds(10).toNanos(), idle.left(idle.now()));
  }

  /** Throttles the first calls. */
  private void throttle(int calls) {
    gateway.converse =
        (request, out) -> {
          if (gateway.requests.size() <= calls) {
            out.onError(throttled("1"));
          } else {
            out.onNext(ConverseResponse.getDefaultInstance());
            out.onCompleted();
          }
        };
  }

  private static Exception throttled(String millis) {
    return FakeGateway.pushedBack(Status.RESOURCE_EXHAUSTED, millis);
  }
}
