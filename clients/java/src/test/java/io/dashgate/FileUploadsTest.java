package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Timestamp;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Uploads that are remembered, and shared by the calls that need them at once. */
@Timeout(60)
class FileUploadsTest {
  private static final Instant NOW = Instant.parse("2026-01-01T00:00:00Z");
  private static final List<Object> KEY = List.of("file", "model", "type");

  private final FileUploads uploads = new FileUploads(Clock.fixed(NOW, ZoneOffset.UTC));
  private final List<CompletableFuture<UploadMediaResponse>> made = new ArrayList<>();

  @Test
  void areSharedByCallsAtOnce() {
    CompletableFuture<String> first = need(KEY);
    CompletableFuture<String> second = need(KEY);
    need(List.of("file", "model", "other type"));
    assertEquals(2, made.size());
    made.get(0).complete(response("oss://a", 7200));
    assertEquals("oss://a", first.join());
    assertEquals("oss://a", second.join());
    assertEquals("oss://a", need(KEY).join());
    assertEquals(2, made.size());
  }

  @Test
  void areMadeByTheNextCallIfOneFails() {
    Context.Key<String> who = Context.key("who");
    List<String> contexts = new ArrayList<>();
    List<CompletableFuture<String>> callers = new ArrayList<>();
    for (String name : List.of("a", "b", "c")) {
      Context.current()
          .withValue(who, name)
          .run(
              () ->
                  callers.add(
                      uploads.uri(
                          KEY,
                          () -> {
                            contexts.add(who.get());
                            made.add(new CompletableFuture<>());
                            return made.get(made.size() - 1);
                          })));
    }
    IllegalStateException own = new IllegalStateException("own");
    made.get(0).completeExceptionally(own);
    CompletionException fault = assertThrows(CompletionException.class, callers.get(0)::join);
    assertSame(own, fault.getCause());
    assertFalse(callers.get(1).isDone());
    // Its caller leaves while it is made.
    callers.get(1).cancel(false);
    assertTrue(made.get(1).isCancelled());
    made.get(2).complete(response("oss://c", 7200));
    assertEquals("oss://c", callers.get(2).join());
    assertEquals(List.of("a", "b", "c"), contexts);
  }

  @Test
  void areNotMadeForACallThatHasLeft() {
    CompletableFuture<String> first = need(KEY);
    need(KEY).cancel(false);
    CompletableFuture<String> third = need(KEY);
    first.cancel(false);
    assertEquals(2, made.size());
    third.cancel(false);
    assertEquals(2, made.size());
    assertFalse(need(KEY).isDone());
    assertEquals(3, made.size());
  }

  @Test
  void areNotUsedInTheirLastHour() {
    need(KEY);
    made.get(0).complete(response("oss://a", 3600));
    assertFalse(need(KEY).isDone());
    made.get(1).complete(response("oss://b", 3601));
    assertEquals("oss://b", need(KEY).join());
    made.clear();
    List<Object> other = List.of("other");
    need(other);
    made.get(0).complete(UploadMediaResponse.newBuilder().setUri("oss://c").build());
    assertFalse(need(other).isDone());
  }

  @Test
  void waitWithinTheDeadlineOfEachCall(@TempDir Path folder) throws Exception {
    Path file = Files.write(folder.resolve("a.wav"), new byte[4 * 1024 * 1024 + 1]);
    Conversation conversation = new Conversation("m").user(Contents.audio(file));
    BlockingQueue<StreamObserver<UploadMediaResponse>> waiting = new LinkedBlockingQueue<>();
    try (FakeGateway gateway = new FakeGateway()) {
      gateway.upload = waiting::add;
      DashgateClient client = gateway.client().build();
      CompletableFuture<Answer> first = client.converseAsync(conversation);
      assertTrue(waiting.poll(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS) != null);
      CallSettings brief = CallSettings.create().timeout(Duration.ofMillis(300)).requestId("b");
      DashgateException late =
          assertThrows(DashgateException.class, () -> client.converse(conversation, brief));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
      assertEquals("DEADLINE_EXCEEDED", late.rawReason());
      assertEquals("b", late.requestId());
      CompletableFuture<Answer> third = client.converseAsync(conversation);
      client.close();
      for (CompletableFuture<Answer> left : List.of(first, third)) {
        DashgateException closed =
            (DashgateException)
                assertThrows(CompletionException.class, left::join).getCause();
        assertEquals(Status.Code.CANCELLED, closed.code());
      }
      assertEquals("upload", gateway.awaitCancelled());
      assertEquals(List.of(), gateway.requests);
    }
  }

  @Test
  void ofFirstCallsAtOnceAreOne(@TempDir Path folder) throws IOException {
    Path file = Files.write(folder.resolve("a.wav"), new byte[4 * 1024 * 1024 + 1]);
    Conversation conversation = new Conversation("m").user(Contents.audio(file));
    try (FakeGateway gateway = new FakeGateway();
        DashgateClient client = gateway.client().build()) {
      List<CompletableFuture<Answer>> calls = new ArrayList<>();
      for (int at = 0; at < 8; at++) {
        calls.add(client.converseAsync(conversation));
      }
      calls.forEach(CompletableFuture::join);
      assertEquals(1, gateway.uploaded.stream().filter(it -> it.hasDescription()).count());
      assertEquals(8, gateway.requests.size());
    }
  }

  private CompletableFuture<String> need(List<Object> key) {
    return uploads.uri(
        key,
        () -> {
          made.add(new CompletableFuture<>());
          return made.get(made.size() - 1);
        });
  }

  private static UploadMediaResponse response(String uri, long seconds) {
    Timestamp expires =
        Timestamp.newBuilder().setSeconds(NOW.getEpochSecond() + seconds).build();
    return UploadMediaResponse.newBuilder().setUri(uri).setExpiresAt(expires).build();
  }
}
