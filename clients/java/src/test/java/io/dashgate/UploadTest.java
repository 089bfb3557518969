package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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
