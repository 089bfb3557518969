package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.CallServiceGrpc;
import io.dashgate.v1.CancelCallRequest;
import io.dashgate.v1.LiveSetup;
import io.dashgate.v1.SynthesisSetup;
import io.grpc.CallOptions;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.ThrowingConsumer;
import org.junit.jupiter.api.io.TempDir;

/** Calls whose gateway is away: their errors have the address, also if the deadline ends first. */
@Timeout(60)
class UnreachedDeadlineTest {
  private static final CallSettings BRIEF = CallSettings.create().timeout(Duration.ofMillis(300));

  private static final String HTTP1 = "HTTP/1.1 400 Bad Request\r\n\r\n";

  private static final Map<String, ThrowingConsumer<DashgateClient>> FORMS =
      Map.of(
          "converse", it -> it.converse(question(), BRIEF),
          "stream", it -> it.stream(question(), BRIEF).finalAnswer(),
          "streamAsync", it -> it.streamAsync(question(), BRIEF, event -> {}).join(),
          "streamTools",
              it ->
                  it.streamTools(question(), List.of(), ToolSettings.create().calls(BRIEF))
                      .finalAnswer(),
          "upload", it -> it.upload("m", Upload.of(new byte[] {1}), BRIEF),
          "getModel", it -> it.getModel("m", BRIEF),
          "cancelCall", it -> it.cancelCall("r-1", BRIEF),
          "live", it -> it.live(LiveSetup.getDefaultInstance(), BRIEF).next(),
          "speak", it -> it.speak(SynthesisSetup.getDefaultInstance(), BRIEF).next());

  @TestFactory
  Stream<DynamicTest> silentPort() {
    return each(
        socket -> {},
        (target, message) -> message.endsWith(": no connection could be made in time"));
  }

  @TestFactory
  Stream<DynamicTest> closingPort() {
    return each(Socket::close, (target, message) -> true);
  }

  @TestFactory
  Stream<DynamicTest> portOfAnotherProtocol() {
    return each(
        socket -> socket.getOutputStream().write(HTTP1.getBytes(StandardCharsets.US_ASCII)),
        (target, message) -> message.contains("SETTINGS"));
  }

  private interface Rule {
    boolean holds(String target, String message);
  }

  private static Stream<DynamicTest> each(ThrowingConsumer<Socket> serve, Rule rule) {
    return FORMS.entrySet().stream()
        .map(
            form ->
                DynamicTest.dynamicTest(
                    form.getKey(),
                    () -> {
                      try (Port port = new Port(serve)) {
                        check(port, form.getValue(), rule);
                      }
                    }));
  }

  private static void check(Port port, ThrowingConsumer<DashgateClient> form, Rule rule)
      throws Throwable {
    DashgateException fault;
    long closedIn;
    try (DashgateClient client = DashgateClient.builder().target(port.target()).build()) {
      fault = fault(client, form);
      closedIn = System.nanoTime();
    }
    // What was never sent is not cancelled at the gateway.
    closedIn = System.nanoTime() - closedIn;
    assertTrue(closedIn < Duration.ofSeconds(1).toNanos(), () -> "closing took too long");
    assertEquals(Status.Code.UNAVAILABLE, fault.code(), fault::toString);
    assertEquals("", fault.rawReason());
    assertTrue(fault.retryable());
    String message = fault.getMessage();
    assertTrue(message.startsWith("cannot connect to " + port.target() + ": "), message);
    assertTrue(rule.holds(port.target(), message), message);
  }

  @Test
  void passedChannel() throws Throwable {
    try (Port port = new Port(socket -> {})) {
      ManagedChannel channel = channel(port);
      try (DashgateClient client = DashgateClient.builder().channel(channel).build()) {
        DashgateException fault = fault(client, it -> it.converse(question(), BRIEF));
        assertEquals(Status.Code.UNAVAILABLE, fault.code(), fault::toString);
        assertTrue(fault.getMessage().contains(port.target()), fault::getMessage);
      } finally {
        channel.shutdownNow();
      }
    }
  }

  @RepeatedTest(5)
  void fileToUpload(@TempDir Path folder) throws Throwable {
    Path file = Files.write(folder.resolve("large.wav"), new byte[5 << 20]);
    try (Port port = new Port(socket -> {});
        DashgateClient client = DashgateClient.builder().target(port.target()).build()) {
      Conversation conversation = new Conversation("m").user(Contents.audio(file));
      DashgateException fault = fault(client, it -> it.converse(conversation, BRIEF));
      assertEquals(Status.Code.UNAVAILABLE, fault.code(), fault::toString);
      assertTrue(fault.getMessage().contains(port.target()), fault::getMessage);
    }
  }

  @Test
  void idleStream() throws Throwable {
    try (Port port = new Port(socket -> {});
        DashgateClient client =
            DashgateClient.builder()
                .target(port.target())
                .idleTimeout(Duration.ofMillis(200))
                .build()) {
      DashgateException fault = fault(client, it -> it.stream(question()).finalAnswer());
      assertEquals(Status.Code.UNAVAILABLE, fault.code(), fault::toString);
      assertTrue(fault.retryable());
      assertTrue(fault.getMessage().contains(port.target()), fault::getMessage);
    }
  }

  @Test
  void deadlineBeforeTheCall() throws Throwable {
    try (Port port = new Port(socket -> {});
        DashgateClient client = DashgateClient.builder().target(port.target()).build()) {
      CallSettings over = CallSettings.create().timeout(Duration.ofNanos(1));
      DashgateException fault = fault(client, it -> it.converse(question(), over));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, fault.code(), fault::toString);
      assertEquals("DEADLINE_EXCEEDED", fault.rawReason());
      assertFalse(fault.retryable());
    }
  }

  @Test
  void slowGateway() throws Throwable {
    try (FakeGateway gateway = new FakeGateway();
        DashgateClient client = DashgateClient.builder().target(gateway.target()).build()) {
      gateway.converse = (request, out) -> {};
      // A busy machine connects within it.
      CallSettings slow = CallSettings.create().timeout(Duration.ofSeconds(3));
      DashgateException fault = fault(client, it -> it.converse(question(), slow));
      assertEquals(Status.Code.DEADLINE_EXCEEDED, fault.code(), fault::toString);
      assertFalse(fault.retryable());
    }
  }

  @Test
  void connectTimeout() throws Throwable {
    try (Port port = new Port(socket -> {})) {
      ManagedChannel channel = channel(port);
      Reach reach = new Reach(port.target(), true, Duration.ofMillis(200));
      try {
        for (int connections = 1; connections <= 2; connections++) {
          StatusRuntimeException fault =
              assertThrows(
                  StatusRuntimeException.class,
                  () ->
                      ClientCalls.blockingUnaryCall(
                          ClientInterceptors.intercept(channel, reach),
                          CallServiceGrpc.getCancelCallMethod(),
                          CallOptions.DEFAULT,
                          CancelCallRequest.getDefaultInstance()));
          assertEquals(Status.Code.UNAVAILABLE, fault.getStatus().getCode(), fault::toString);
          assertTrue(fault.getMessage().contains(port.target() + ": no connection within"));
        }
        // The second call had a connection of its own.
        assertTrue(port.sockets.size() >= 2, () -> port.sockets.size() + " connections");
      } finally {
        channel.shutdownNow();
      }
    }
  }

  private static ManagedChannel channel(Port port) {
    return Grpc.newChannelBuilder(port.target(), InsecureChannelCredentials.create()).build();
  }

  private static DashgateException fault(
      DashgateClient client, ThrowingConsumer<DashgateClient> form) throws Throwable {
    try {
      form.accept(client);
    } catch (DashgateException e) {
      return e;
    } catch (CompletionException e) {
      return (DashgateException) e.getCause();
    }
    throw new AssertionError("the call succeeded");
  }

  private static Conversation question() {
    return new Conversation("m").user("Hello?");
  }

  /** A port whose connections are given to a function, and then not answered. */
  private static final class Port implements AutoCloseable {
    final List<Socket> sockets = new CopyOnWriteArrayList<>();
    private final ServerSocket server = new ServerSocket(0, 0, InetAddress.getLoopbackAddress());

    Port(ThrowingConsumer<Socket> serve) throws IOException {
      Thread thread = new Thread(() -> accept(serve));
      thread.setDaemon(true);
      thread.start();
    }

    private void accept(ThrowingConsumer<Socket> serve) {
      try {
        while (true) {
          Socket socket = server.accept();
          sockets.add(socket);
          serve.accept(socket);
        }
      } catch (Throwable closed) {
        return;
      }
    }

    String target() {
      return "127.0.0.1:" + server.getLocalPort();
    }

    @Override
    public void close() throws IOException {
      server.close();
      for (Socket socket : sockets) {
        socket.close();
      }
    }
  }
}
