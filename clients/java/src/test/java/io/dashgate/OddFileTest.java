package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/** Paths that name no regular file. */
@Timeout(60)
@DisabledOnOs(OS.WINDOWS)
class OddFileTest {
  @TempDir Path folder;

  @Test
  void areErrorsAtOnce() throws IOException {
    Path pipe = OddFiles.pipe(folder.resolve("pipe"));
    Path link = Files.createSymbolicLink(folder.resolve("link.wav"), pipe);
    Path socket = folder.resolve("socket");
    try (FakeGateway gateway = new FakeGateway();
        DashgateClient client = gateway.client().build();
        ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      listener.bind(UnixDomainSocketAddress.of(socket));
      for (Path odd : List.of(pipe, link, socket, Path.of("/dev/null"))) {
        isRefused(client, odd, "it is no regular file");
      }
      isRefused(client, folder, "it is a directory");
      isRefused(client, folder.resolve("none"), "no such file");
      assertEquals(List.of(), gateway.headers);
    }
  }

  private static void isRefused(DashgateClient client, Path odd, String why) {
    List<Executable> uses =
        List.of(
            () -> Contents.audio(odd),
            () -> Contents.image(odd.toString()),
            () -> Contents.video("file://" + odd),
            () -> Upload.of(odd),
            () -> client.upload("m", odd));
    for (Executable use : uses) {
      UncheckedIOException fault = assertThrows(UncheckedIOException.class, use);
      assertEquals("cannot read " + odd + ": " + why, fault.getMessage());
    }
  }

  @Test
  void thatBecomePipesWhileTheyAreOpenedLoseAThreadAndNoMore() throws Exception {
    Path file = Files.write(folder.resolve("a.wav"), new byte[] {1});
    CountDownLatch closed = new CountDownLatch(1);
    FileOpener opener =
        new FileOpener(
            path -> {
              Files.delete(path);
              OddFiles.pipe(path);
              assertTrue(Thread.currentThread().isDaemon());
              return watched(Files.newInputStream(path), closed);
            },
            1);
    IOException fault = assertThrows(IOException.class, () -> opener.open(file));
    assertEquals("it is no regular file", fault.getMessage());
    Path other = Files.write(folder.resolve("b.wav"), new byte[] {1});
    fault = assertThrows(IOException.class, () -> opener.open(other));
    assertTrue(fault.getMessage().contains("1 other files"), fault::getMessage);
    // A writer at last: the thread goes on, and what it opened is closed.
    try (OutputStream writer = Files.newOutputStream(file)) {
      writer.flush();
      assertTrue(closed.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
    }
    fault = assertThrows(IOException.class, () -> opener.open(other));
    assertEquals("it is no regular file", fault.getMessage());
    Files.newOutputStream(other).close();
  }

  @Test
  void thatAreReplacedWhileTheyAreOpenedAreErrors() throws IOException {
    Path file = Files.write(folder.resolve("a.wav"), new byte[] {1});
    CountDownLatch closed = new CountDownLatch(1);
    FileOpener opener =
        new FileOpener(
            path -> {
              InputStream stream = watched(Files.newInputStream(path), closed);
              Path other = Files.write(folder.resolve("other"), new byte[] {2});
              Files.move(other, path, StandardCopyOption.REPLACE_EXISTING);
              return stream;
            },
            1);
    IOException fault = assertThrows(IOException.class, () -> opener.open(file));
    assertEquals("it was replaced while it was opened", fault.getMessage());
    assertEquals(0, closed.getCount());
  }

  @Test
  void anInterruptedThreadReadsFilesAsBefore() throws IOException {
    Path file = Files.write(folder.resolve("a.wav"), new byte[] {1});
    Thread.currentThread().interrupt();
    assertEquals(1, Contents.audio(file).getAudio().getData().size());
    assertTrue(Thread.interrupted());
    assertFalse(Thread.interrupted());
  }

  private static InputStream watched(InputStream stream, CountDownLatch closed) {
    return new FilterInputStream(stream) {
      @Override
      public void close() throws IOException {
        super.close();
        closed.countDown();
      }
    };
  }
}
