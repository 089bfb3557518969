package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PipedInputStream;
import java.io.PipedOutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class UploadTest {
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
  void uploadsInPieces(@TempDir Path folder) throws IOException {
    byte[] data = new byte[600 * 1024];
    data[data.length - 1] = 7;
    Path file = Files.write(folder.resolve("video.mp4"), data);
    try (DashgateClient client = gateway.client().build()) {
      CallSettings settings = CallSettings.create().requestId("video-1");
      assertEquals(
          "oss://somewhere", client.upload("qwen-vl-max", Upload.of(file), settings).getUri());
    }
    assertEquals("video-1", gateway.headers.get(0).get(FakeGateway.key("x-request-id")));
    assertEquals("video.mp4", gateway.uploaded.get(0).getDescription().getName());
    assertEquals(data.length, gateway.uploaded.get(0).getDescription().getSizeBytes());
    ByteString whole = ByteString.EMPTY;
    List<Integer> sizes = new ArrayList<>();
    for (var message : gateway.uploaded.subList(1, gateway.uploaded.size())) {
      whole = whole.concat(message.getChunk());
      sizes.add(message.getChunk().size());
    }
    assertEquals(List.of(256 * 1024, 256 * 1024, 88 * 1024), sizes);
    assertEquals(ByteString.copyFrom(data), whole);
  }

  @Test
  void uploadsAStreamOfAnySizeAndClosesIt() {
    boolean[] closed = {false};
    InputStream stream =
        new ByteArrayInputStream(new byte[3]) {
          @Override
          public void close() {
            closed[0] = true;
          }
        };
    try (DashgateClient client = gateway.client().build()) {
      client.upload("qwen-vl-max", Upload.of(stream).name("a.wav").mimeType("audio/wav"));
    }
    assertTrue(closed[0]);
    assertFalse(gateway.uploaded.get(0).getDescription().hasSizeBytes());
    assertEquals("audio/wav", gateway.uploaded.get(0).getDescription().getMimeType());
    assertEquals(2, gateway.uploaded.size());
  }

  @Test
  void aSourceThatBlocksHoldsNoThreadOfTheChannel() throws Exception {
    CountDownLatch reading = new CountDownLatch(1);
    CountDownLatch closed = new CountDownLatch(1);
    InputStream stream =
        new InputStream() {
          @Override
          public int read() throws IOException {
            reading.countDown();
            try {
              closed.await();
            } catch (InterruptedException e) {
              throw new IOException(e);
            }
            return -1;
          }

          @Override
          public void close() {
            closed.countDown();
          }
        };
    // All calls of this client are served by one thread.
    ExecutorService one = Executors.newSingleThreadExecutor();
    try (DashgateClient client =
        gateway.client().configureChannel(builder -> builder.executor(one)).build()) {
      CompletableFuture<UploadMediaResponse> blocked =
          client.uploadAsync("m", Upload.of(stream), CallSettings.create());
      assertTrue(reading.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
      client.converse(new Conversation("m").user("Hello?"));
      blocked.cancel(false);
      assertEquals("upload", gateway.awaitCancelled());
      // The source is closed, which may end what it waits for.
      assertTrue(closed.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
      DashgateException late =
          assertThrows(
              DashgateException.class,
              () ->
                  client.upload(
                      "m",
                      Upload.of(new PipedInputStream(new PipedOutputStream())),
                      CallSettings.create().timeout(Duration.ofMillis(300))));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    } finally {
      one.shutdownNow();
    }
  }

  @Test
  void givesErrorsOfASourceAsTheyAre() {
    for (Throwable own : List.of(new AssertionError("own"), new Exception("undeclared"))) {
      InputStream stream =
          new InputStream() {
            @Override
            public int read() {
              throw Throwables.raise(own);
            }
          };
      try (DashgateClient client = gateway.client().build()) {
        assertSame(
            own,
            assertThrows(Throwable.class, () -> client.upload("m", Upload.of(stream))));
      }
    }
  }

  @Test
  void givesTheFaultOfASourceAsItIs() throws InterruptedException {
    IOException broken = new IOException("the disk is gone");
    InputStream stream =
        new InputStream() {
          @Override
          public int read() throws IOException {
            throw broken;
          }
        };
    try (DashgateClient client = gateway.client().build()) {
      UncheckedIOException fault =
          assertThrows(
              UncheckedIOException.class,
              () -> client.upload("qwen-vl-max", Upload.of(stream)));
      assertSame(broken, fault.getCause());
      assertEquals("upload", gateway.awaitCancelled());
    }
  }
}
