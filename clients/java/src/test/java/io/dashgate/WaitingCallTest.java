package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Calls beyond those of all connections, of which there is one with one call here. */
@Timeout(60)
class WaitingCallTest {
  private static final Conversation QUESTION = new Conversation("m").user("Hello?");

  private final BlockingQueue<StreamObserver<ConverseResponse>> calls =
      new LinkedBlockingQueue<>();
  private FakeGateway gateway;
  private DashgateClient client;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    gateway.converse = (request, out) -> calls.add(out);
    client = gateway.client().limits(1, 1).build();
  }

  @AfterEach
  void stop() {
    client.close();
    gateway.close();
  }

  @Test
  void beginInTheirOrder() throws InterruptedException {
    List<CompletableFuture<Answer>> answers = new ArrayList<>();
    for (String id : List.of("a", "b", "c", "d")) {
      answers.add(client.converseAsync(QUESTION, CallSettings.create().requestId(id)));
    }
    StreamObserver<ConverseResponse> first = next();
    // It leaves before its turn.
    answers.get(2).cancel(false);
    answer(first);
    answer(next());
    answer(next());
    answers.get(0).join();
    answers.get(1).join();
    answers.get(3).join();
    assertEquals(
        List.of("a", "b", "d"),
        gateway.requests.stream()
            .map(ConverseRequest::getRequestId)
            .collect(Collectors.toList()));
  }

  @Test
  void endAtTheirDeadline() throws Exception {
    CompletableFuture<Answer> running = client.converseAsync(QUESTION);
    StreamObserver<ConverseResponse> first = next();
    CallSettings brief = CallSettings.create().timeout(Duration.ofMillis(300)).requestId("b");
    DashgateException late =
        assertThrows(DashgateException.class, () -> client.converse(QUESTION, brief));
    isLate(late);
    assertEquals("b", late.requestId());
    isLate(
        assertThrows(
            DashgateException.class, () -> client.stream(QUESTION, brief).finalAnswer()));
    isLate(assertThrows(DashgateException.class, () -> client.getModel("m", brief)));
    answer(first);
    running.get();
    assertEquals(1, gateway.headers.size());
  }

  @Test
  void endWithTheirContextTheirCallerAndTheClient() throws Exception {
    client.converseAsync(QUESTION);
    StreamObserver<ConverseResponse> first = next();
    Context.CancellableContext context = Context.current().withCancellation();
    CompletableFuture<Answer> inContext = context.call(() -> client.converseAsync(QUESTION));
    AnswerStream stream = client.stream(QUESTION);
    CompletableFuture<Answer> left = client.converseAsync(QUESTION);
    context.cancel(null);
    isCancelled(inContext);
    stream.close();
    assertEquals(
        Status.Code.CANCELLED,
        assertThrows(DashgateException.class, stream::finalAnswer).code());
    client.close();
    isCancelled(left);
    assertEquals(1, gateway.headers.size());
    assertTrue(gateway.cancelCalls.isEmpty());
    first.onError(Status.ABORTED.asException());
  }

  @Test
  void areNotIdle() throws Exception {
    try (DashgateClient brief =
        gateway.client().limits(1, 1).idleTimeout(Duration.ofMillis(200)).build()) {
      CompletableFuture<Answer> running = brief.converseAsync(QUESTION);
      StreamObserver<ConverseResponse> first = next();
      AnswerStream stream = brief.stream(QUESTION);
      CompletableFuture<Answer> observed = brief.streamAsync(QUESTION, event -> {});
      // Others are idle meanwhile.
      gateway.stream = (request, out) -> {};
      try (DashgateClient other =
          gateway.client().idleTimeout(Duration.ofMillis(500)).build()) {
        assertThrows(DashgateException.class, () -> other.stream(QUESTION).finalAnswer());
      }
      gateway.stream = WaitingCallTest::complete;
      answer(first);
      running.join();
      assertEquals("Hello", stream.finalAnswer().text());
      assertEquals("Hello", observed.join().text());
      // The clock runs again.
      gateway.stream = (request, out) -> {};
      DashgateException idle =
          assertThrows(DashgateException.class, () -> brief.stream(QUESTION).finalAnswer());
      assertEquals("STREAM_IDLE", idle.rawReason());
    }
  }

  @Test
  void aStreamThatIsLeftEndsItsCallWithoutWaiting() throws Exception {
    gateway.stream = (request, out) -> out.onNext(resumable());
    AtomicInteger connections = new AtomicInteger();
    try (DashgateClient full =
        gateway
            .client()
            .limits(1, 1)
            .configureChannel(it -> connections.incrementAndGet())
            .build()) {
      AnswerStream stream = full.stream(QUESTION);
      stream.next();
      CompletableFuture<Answer> second = full.converseAsync(QUESTION);
      CompletableFuture<Answer> third = full.converseAsync(QUESTION);
      stream.close();
      assertEquals(stream.requestId(), gateway.cancelCalls.poll(20, TimeUnit.SECONDS));
      // The second call has the place of the stream, and a gateway would take no other there.
      assertEquals(2, connections.get());
      StreamObserver<ConverseResponse> running = next();
      assertTrue(calls.isEmpty());
      answer(running);
      second.join();
      answer(next());
      third.join();
      assertEquals(2, connections.get());
    }
  }

  @Test
  void beginAtOnceWhenACallIsLeft() throws Exception {
    try (FakeGateway limited = FakeGateway.limited(1);
        DashgateClient full = limited.client().limits(1, 1).build()) {
      limited.stream = (request, out) -> out.onNext(FakeGateway.started());
      for (int at = 0; at < 10; at++) {
        AnswerStream stream = full.stream(QUESTION);
        stream.next();
        CompletableFuture<Answer> next = full.converseAsync(QUESTION);
        stream.close();
        // Nothing else is sent or received on the connection, which could let it begin.
        next.get(5, TimeUnit.SECONDS);
      }
      for (int at = 0; at < 10; at++) {
        AnswerStream late =
            full.stream(QUESTION, CallSettings.create().timeout(Duration.ofMillis(200)));
        CompletableFuture<Answer> next = full.converseAsync(QUESTION);
        assertThrows(DashgateException.class, late::finalAnswer);
        next.get(5, TimeUnit.SECONDS);
      }
    }
  }

  @Test
  void uploadsWaitToo() throws Exception {
    CompletableFuture<Answer> running = client.converseAsync(QUESTION);
    StreamObserver<ConverseResponse> first = next();
    CompletableFuture<?> upload =
        client.uploadAsync("m", Upload.of(new byte[600 * 1024]), CallSettings.create());
    answer(first);
    running.join();
    upload.join();
    assertEquals(4, gateway.uploaded.size());
  }

  @Test
  void leaveNothingBehind() throws Exception {
    ConnectionPool pool =
        new ConnectionPool(
            () ->
                Grpc.newChannelBuilder(gateway.target(), InsecureChannelCredentials.create())
                    .build(),
            gateway.target(),
            new CallLog(CallLog.Level.OFF, ""),
            1,
            1);
    begun(pool, CallOptions.DEFAULT);
    StreamObserver<ConverseResponse> first = next();
    Ended cancelled = begun(pool, CallOptions.DEFAULT);
    Ended late =
        begun(pool, CallOptions.DEFAULT.withDeadlineAfter(100, TimeUnit.MILLISECONDS));
    cancelled.call.cancel("left", null);
    cancelled.call.sendMessage(ConverseRequest.getDefaultInstance());
    assertEquals(Status.Code.CANCELLED, cancelled.get());
    assertEquals(Status.Code.DEADLINE_EXCEEDED, late.get());
    assertEquals(0, pool.waiting());
    Ended last = begun(pool, CallOptions.DEFAULT);
    assertFalse(last.call.isReady());
    answer(first);
    answer(next());
    assertEquals(Status.Code.OK, last.get());
    // A call that was cancelled before it is started ends, too, and takes no place.
    Ended unstarted = new Ended(pool.newCall(METHOD, CallOptions.DEFAULT));
    unstarted.call.cancel("left", null);
    unstarted.call.start(unstarted, new Metadata());
    assertEquals(Status.Code.CANCELLED, unstarted.get());
    begun(pool, CallOptions.DEFAULT);
    next();
    Ended closed = begun(pool, CallOptions.DEFAULT);
    pool.close(5);
    assertEquals(Status.Code.UNAVAILABLE, closed.get());
  }

  private static final io.grpc.MethodDescriptor<ConverseRequest, ConverseResponse> METHOD =
      ConversationServiceGrpc.getConverseMethod();

  private static Ended begun(ConnectionPool pool, CallOptions options) {
    Ended ended = new Ended(pool.newCall(METHOD, options));
    ended.call.start(ended, new Metadata());
    ended.call.request(2);
    ended.call.sendMessage(ConverseRequest.getDefaultInstance());
    ended.call.halfClose();
    return ended;
  }

  /** The end of a call. */
  private static final class Ended extends ClientCall.Listener<ConverseResponse> {
    final ClientCall<ConverseRequest, ConverseResponse> call;
    private final CompletableFuture<Status.Code> code = new CompletableFuture<>();

    Ended(ClientCall<ConverseRequest, ConverseResponse> call) {
      this.call = call;
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      code.complete(status.getCode());
    }

    Status.Code get() throws InterruptedException, ExecutionException {
      return code.get();
    }
  }

  private StreamObserver<ConverseResponse> next() throws InterruptedException {
    return calls.poll(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS);
  }

  private static void answer(StreamObserver<ConverseResponse> call) {
    call.onNext(ConverseResponse.getDefaultInstance());
    call.onCompleted();
  }

  private static void complete(
      io.dashgate.v1.ConverseStreamRequest request,
      StreamObserver<ConverseStreamResponse> out) {
    out.onNext(FakeGateway.started());
    out.onNext(FakeGateway.text("Hello"));
    out.onNext(FakeGateway.completed());
    out.onCompleted();
  }

  private static ConverseStreamResponse resumable() {
    ConverseStreamResponse.Builder event = FakeGateway.started().toBuilder();
    event.getStartedBuilder().setResumable(true);
    return event.setSequence(1).build();
  }

  private static void isLate(DashgateException late) {
    assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    assertEquals("DEADLINE_EXCEEDED", late.rawReason());
  }

  private static void isCancelled(CompletableFuture<Answer> call) {
    DashgateException fault =
        (DashgateException) assertThrows(CompletionException.class, call::join).getCause();
    assertEquals(Status.Code.CANCELLED, fault.code());
  }
}
