package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.Choice;
import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.Message;
import io.grpc.ConnectivityState;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class DashgateClientTest {
  private static final String KEY = "sesame-opens";

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
  void connectsWithTheFirstCallAndNotBefore() {
    try (DashgateClient client = gateway.client().build()) {
      ManagedChannel channel = client.owned();
      assertEquals(ConnectivityState.IDLE, channel.getState(false));
      client.converse(question());
      assertEquals(ConnectivityState.READY, channel.getState(false));
    }
  }

  @Test
  void tellsWhoItIs() {
    try (DashgateClient client =
        gateway.client().apiKey(KEY).metadata("x-team", "blue").metadata("x-room", "1").build()) {
      client.converse(question(), CallSettings.create().metadata("x-room", "2"));
    }
    Metadata headers = gateway.headers.get(0);
    assertEquals("Bearer " + KEY, headers.get(FakeGateway.key("authorization")));
    assertEquals("blue", headers.get(FakeGateway.key("x-team")));
    assertEquals("2", headers.get(FakeGateway.key("x-room")));
    String agent = headers.get(FakeGateway.key("user-agent"));
    assertTrue(agent.startsWith("dashgate-java/" + Version.NUMBER), agent);
  }

  @Test
  void readsTheEnvironment() {
    Map<String, String> environment =
        Map.of("DASHGATE_ADDR", gateway.target(), "DASHGATE_API_KEY", KEY);
    try (DashgateClient client = DashgateClient.builder().environment(environment).build()) {
      client.converse(question());
    }
    assertEquals("Bearer " + KEY, gateway.headers.get(0).get(FakeGateway.key("authorization")));
  }

  @Test
  void takesWhatIsEmptyInTheEnvironmentForNothing() {
    Map<String, String> environment = Map.of("DASHGATE_ADDR", "", "DASHGATE_API_KEY", "");
    try (DashgateClient client = DashgateClient.builder().environment(environment).build()) {
      assertEquals(Target.DEFAULT, client.owned().authority());
    }
    try (DashgateClient client = gateway.client().environment(environment).build()) {
      client.converse(question());
    }
    assertNull(gateway.headers.get(0).get(FakeGateway.key("authorization")));
  }

  @Test
  void showsTheKeyNowhere() {
    gateway.converse = (request, out) -> out.onError(Status.UNAUTHENTICATED.asException());
    DashgateClientBuilder builder = gateway.client().apiKey(KEY).metadata("x-secret", KEY);
    CallSettings settings = CallSettings.create().metadata("x-other", KEY);
    assertFalse((builder + "" + settings).contains(KEY));
    try (DashgateClient client = builder.build()) {
      assertFalse(client.toString().contains(KEY), client::toString);
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(question(), settings));
      assertFalse((fault + "" + fault.status() + fault.trailers()).contains(KEY));
    }
    IllegalArgumentException refused =
        assertThrows(
            IllegalArgumentException.class, () -> gateway.client().apiKey(KEY + "\n"));
    assertFalse(refused.getMessage().contains(KEY), refused::getMessage);
    IllegalArgumentException fromEnvironment =
        assertThrows(
            IllegalArgumentException.class,
            () ->
                gateway.client().environment(Map.of("DASHGATE_API_KEY", KEY + "\n")).build());
    assertFalse(fromEnvironment.getMessage().contains(KEY), fromEnvironment::getMessage);
  }

  @Test
  void leavesAChannelThatWasGivenOpen() {
    ManagedChannel channel =
        Grpc.newChannelBuilder(gateway.target(), InsecureChannelCredentials.create()).build();
    try {
      gateway.converse =
          (request, out) -> {
            out.onNext(answer("x".repeat(5_000_000)));
            out.onCompleted();
          };
      try (DashgateClient client = DashgateClient.builder().channel(channel).build()) {
        // More than the 4 MiB default of the channel.
        assertEquals(5_000_000, client.converse(question()).text().length());
      }
      assertFalse(channel.isShutdown());
    } finally {
      channel.shutdownNow();
    }
    assertThrows(
        IllegalArgumentException.class,
        () -> DashgateClient.builder().channel(channel).target("localhost:1").build());
  }

  @Test
  void closesOnceAndForAll() throws Exception {
    gateway.stream = (request, out) -> out.onNext(FakeGateway.started());
    gateway.converse = (request, out) -> {};
    DashgateClient client = gateway.client().build();
    AnswerStream stream = client.stream(question());
    assertTrue(stream.hasNext());
    CompletableFuture<Answer> answer = client.converseAsync(question());
    client.close();
    client.close();
    stream.next();
    assertEquals(
        Status.Code.CANCELLED, assertThrows(DashgateException.class, stream::hasNext).code());
    CompletionException fault = assertThrows(CompletionException.class, answer::join);
    assertEquals(Status.Code.CANCELLED, ((DashgateException) fault.getCause()).code());
    // The unary call may have reached the gateway too; the order of the two is not defined.
    String cancelled = gateway.awaitCancelled();
    if (!cancelled.equals(stream.requestId())) {
      cancelled = gateway.awaitCancelled();
    }
    assertEquals(stream.requestId(), cancelled);
    assertThrows(IllegalStateException.class, () -> client.converse(question()));
    assertTrue(client.getModelAsync("m", CallSettings.create()).isCompletedExceptionally());
    assertTrue(client.owned().isTerminated());
    // A call of a stub is not retried, which would take 8 seconds.
    long start = System.nanoTime();
    StatusRuntimeException closed =
        assertThrows(
            StatusRuntimeException.class,
            () ->
                ConversationServiceGrpc.newBlockingStub(client.channel())
                    .converse(ConverseRequest.getDefaultInstance()));
    assertEquals(Status.Code.UNAVAILABLE, closed.getStatus().getCode());
    assertTrue(TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start) < 300);
  }

  @Test
  void takesTimesThatNeverEnd() {
    Duration forever = ChronoUnit.FOREVER.getDuration();
    try (DashgateClient client =
        gateway.client().timeout(forever).idleTimeout(forever).build()) {
      client.converse(question());
      client.stream(question()).finalAnswer();
      client.streamAsync(question(), event -> {}).join();
      client.getModel("m", CallSettings.create().timeout(forever));
    }
  }

  @Test
  void takesAnEmptyRequestIdForNone() {
    CallSettings empty = CallSettings.create().requestId("");
    CallSettings header = CallSettings.create().metadata("x-request-id", "");
    try (DashgateClient client = gateway.client().build()) {
      for (CallSettings settings : List.of(empty, header)) {
        client.converse(question(), settings);
        client.stream(question(), settings).finalAnswer();
        client.getModel("m", settings);
      }
    }
    gateway.requests.forEach(it -> assertEquals(36, it.getRequestId().length()));
    gateway.streamRequests.forEach(it -> assertEquals(36, it.getRequestId().length()));
    gateway.headers.stream()
        .map(it -> it.get(FakeGateway.key("x-request-id")))
        .filter(Objects::nonNull)
        .forEach(it -> assertEquals(36, it.length()));
  }

  @Test
  void namesEachCall() {
    try (DashgateClient client = gateway.client().build()) {
      String own = client.converse(question()).requestId();
      assertEquals(own, UUID.fromString(own).toString());
      assertNotEquals(own, client.converse(question()).requestId());
      CallSettings named = CallSettings.create().requestId("order-17");
      assertEquals("order-17", client.converse(question(), named).requestId());
    }
  }

  @Test
  void asksAgainWithTheSameNameAndAllOfALargeRequest() {
    AtomicInteger attempts = new AtomicInteger();
    gateway.converse =
        (request, out) -> {
          if (attempts.incrementAndGet() < 3) {
            out.onError(unavailable("5"));
          } else {
            out.onNext(answer("at last"));
            out.onCompleted();
          }
        };
    try (DashgateClient client = gateway.client().build()) {
      Conversation large = new Conversation("qwen3.6-plus").user("x".repeat(6_000_000));
      assertEquals("at last", client.converse(large).text());
    }
    assertEquals(3, gateway.requests.size());
    assertEquals(
        1, gateway.requests.stream().map(ConverseRequest::getRequestId).distinct().count());
    assertEquals(1, gateway.requests.stream().distinct().count());
  }

  @Test
  void doesNotAskAgainWhenTheGatewayForbidsIt() {
    for (String pushback : List.of("-1", "soon")) {
      gateway.requests.clear();
      gateway.converse = (request, out) -> out.onError(unavailable(pushback));
      try (DashgateClient client = gateway.client().build()) {
        DashgateException fault =
            assertThrows(DashgateException.class, () -> client.converse(question()));
        assertTrue(fault.retryAfter().isEmpty());
      }
      assertEquals(1, gateway.requests.size(), pushback);
    }
  }

  @Test
  void asksAgainAfterNoOtherCode() {
    Metadata trailers = new Metadata();
    trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), "5");
    gateway.converse = (request, out) -> out.onError(Status.INTERNAL.asException(trailers));
    try (DashgateClient client = gateway.client().build()) {
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(question()));
      assertEquals(Duration.ofMillis(5), fault.retryAfter().orElseThrow());
    }
    assertEquals(1, gateway.requests.size());
  }

  @Test
  void asksAtMostFiveTimesAndLessWhenAllFails() {
    gateway.converse = (request, out) -> out.onError(unavailable("0"));
    try (DashgateClient client = gateway.client().build()) {
      for (int call = 1; call <= 100; call++) {
        assertThrows(DashgateException.class, () -> client.converse(question()));
        assertEquals(5 * call, gateway.requests.size());
      }
      // Half of the tokens are spent: failures have disabled retries.
      assertThrows(DashgateException.class, () -> client.converse(question()));
      assertEquals(501, gateway.requests.size());
    }
  }

  @Test
  void doesNotWaitLongerThanTheDeadline() {
    gateway.converse = (request, out) -> out.onError(unavailable("600000"));
    CallSettings settings = CallSettings.create().timeout(Duration.ofSeconds(30));
    try (DashgateClient client = gateway.client().build()) {
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(question(), settings));
      assertEquals(Status.Code.UNAVAILABLE, fault.code());
    }
  }

  @Test
  void endsThePauseBeforeAnotherAttempt() throws Exception {
    gateway.converse = (request, out) -> out.onError(unavailable("600000"));
    DashgateClient client = gateway.client().timeout(Duration.ofHours(1)).build();
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      CompletableFuture<Answer> first = client.converseAsync(question());
      CompletableFuture<Answer> second =
          context.call(() -> client.converseAsync(question()));
      while (gateway.requests.size() < 2) {
        Thread.onSpinWait();
      }
      context.cancel(null);
      assertEndsWithoutThePause(second);
      client.close();
      assertEndsWithoutThePause(first);
    }
  }

  /** Whether the delay had started depends on the scheduler. */
  private static void assertEndsWithoutThePause(CompletableFuture<Answer> call) {
    CompletionException fault = assertThrows(CompletionException.class, call::join);
    Status.Code code = ((DashgateException) fault.getCause()).code();
    assertTrue(code == Status.Code.CANCELLED || code == Status.Code.UNAVAILABLE, code.name());
  }

  @Test
  void hasTheDeadlinesOfItsDefaults() {
    try (DashgateClient client = gateway.client().build()) {
      client.converse(question());
      client.stream(question()).finalAnswer();
      client.upload("qwen-vl-max", Upload.of(new byte[1]));
      client.converse(question(), CallSettings.create().timeout(Duration.ofSeconds(40)));
      client.stream(question(), CallSettings.create().timeout(Duration.ofSeconds(40)))
          .finalAnswer();
    }
    try (DashgateClient client = gateway.client().timeout(Duration.ofSeconds(90)).build()) {
      client.stream(question()).finalAnswer();
    }
    List<Long> seconds = new ArrayList<>();
    gateway.deadlines.forEach(
        it -> seconds.add(it.map(deadline -> deadline.timeRemaining(TimeUnit.SECONDS)).orElse(0L)));
    assertTrue(seconds.get(0) > 500 && seconds.get(0) <= 600, seconds::toString);
    assertEquals(0, seconds.get(1));
    assertTrue(seconds.get(2) > 500 && seconds.get(2) <= 600, seconds::toString);
    assertTrue(seconds.get(3) > 0 && seconds.get(3) <= 40, seconds::toString);
    assertTrue(seconds.get(4) > 0 && seconds.get(4) <= 40, seconds::toString);
    assertTrue(seconds.get(5) > 40 && seconds.get(5) <= 90, seconds::toString);
  }

  @Test
  void endsACallWithItsContext() throws Exception {
    gateway.converse = (request, out) -> {};
    try (DashgateClient client = gateway.client().build();
        Context.CancellableContext context = Context.current().withCancellation()) {
      CompletableFuture<Answer> answer =
          context.call(() -> client.converseAsync(question(), named("in a context")));
      awaitRequest();
      context.cancel(null);
      CompletionException fault = assertThrows(CompletionException.class, answer::join);
      assertEquals(Status.Code.CANCELLED, ((DashgateException) fault.getCause()).code());
      assertEquals("in a context", gateway.awaitCancelled());
    }
  }

  @Test
  void endsACallWithItsFuture() throws Exception {
    gateway.converse = (request, out) -> {};
    try (DashgateClient client = gateway.client().build()) {
      CompletableFuture<Answer> answer = client.converseAsync(question(), named("a future"));
      awaitRequest();
      answer.cancel(true);
      assertEquals("a future", gateway.awaitCancelled());
    }
  }

  @Test
  void endsACallWithItsThread() throws Exception {
    gateway.converse = (request, out) -> {};
    try (DashgateClient client = gateway.client().build()) {
      CompletableFuture<DashgateException> fault = new CompletableFuture<>();
      Thread thread =
          new Thread(
              () -> {
                try {
                  client.converse(question(), named("a thread"));
                } catch (DashgateException e) {
                  fault.complete(Thread.currentThread().isInterrupted() ? e : null);
                }
              });
      thread.start();
      awaitRequest();
      thread.interrupt();
      DashgateException seen = fault.get(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS);
      assertEquals(Status.Code.CANCELLED, seen.code());
      assertEquals("a thread", gateway.awaitCancelled());
    }
  }

  @Test
  void givesItsChannelToTheStubs() {
    try (DashgateClient client = gateway.client().apiKey(KEY).build()) {
      ConverseRequest request = ConverseRequest.newBuilder().setRequestId("raw").build();
      assertEquals(
          "raw",
          ConversationServiceGrpc.newBlockingStub(client.channel())
              .converse(request)
              .getRequestId());
    }
    assertEquals("Bearer " + KEY, gateway.headers.get(0).get(FakeGateway.key("authorization")));
  }

  private void awaitRequest() throws InterruptedException {
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(FakeGateway.WAIT_SECONDS);
    while (gateway.requests.isEmpty()) {
      assertTrue(System.nanoTime() < until, "no request came");
      Thread.onSpinWait();
    }
  }

  private static CallSettings named(String name) {
    return CallSettings.create().requestId(name);
  }

  private static Conversation question() {
    return new Conversation("qwen3.6-plus").user("Hello?");
  }

  private static ConverseResponse answer(String text) {
    Message message = Message.newBuilder().addContent(Contents.text(text)).build();
    return ConverseResponse.newBuilder()
        .addChoices(Choice.newBuilder().setMessage(message))
        .build();
  }

  private static Exception unavailable(String pushback) {
    return FakeGateway.pushedBack(Status.UNAVAILABLE, pushback);
  }
}
