package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Heartbeat;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Stream;
import org.apache.catalina.Context;
import org.apache.catalina.Wrapper;
import org.apache.catalina.startup.Tomcat;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.springframework.core.env.MapPropertySource;
import org.springframework.web.context.support.AnnotationConfigWebApplicationContext;
import org.springframework.web.servlet.DispatcherServlet;
import org.springframework.web.servlet.config.annotation.EnableWebMvc;
import recipes.AskController;
import recipes.ClientConfiguration;

/** The recipe for Spring, with a Tomcat that has one thread. */
@Timeout(60)
class SpringRecipeTest {
  @TempDir Path folder;
  private final BlockingQueue<StreamObserver<ConverseStreamResponse>> calls =
      new LinkedBlockingQueue<>();
  private FakeGateway gateway;
  private AnnotationConfigWebApplicationContext context;
  private Tomcat tomcat;
  /** Kept, because a logger without references loses its level. */
  private List<Logger> loggers;

  /** Spring Boot has it by itself. */
  @EnableWebMvc
  static class Mvc {}

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    gateway.stream =
        (request, out) -> {
          out.onNext(FakeGateway.started());
          calls.add(out);
        };
  }

  @AfterEach
  void stop() throws Exception {
    if (tomcat != null) {
      context.close();
      tomcat.stop();
      tomcat.destroy();
    }
    gateway.close();
  }

  @Test
  void textReachesTheBrowserEventByEvent() throws Exception {
    serve(Map.of());
    try (Browser browser = new Browser()) {
      StreamObserver<ConverseStreamResponse> call = nextCall();
      assertEquals(":\n", browser.event());
      call.onNext(FakeGateway.text("Hello"));
      assertEquals("data: Hello\n", browser.event());
      call.onNext(heartbeat());
      assertEquals(":\n", browser.event());
      call.onNext(FakeGateway.text(" world\n  or\r\nthe\revent: done"));
      String lines = "data:  world\ndata:   or\ndata: the\ndata: event: done\n";
      assertEquals(lines, browser.event());
      call.onNext(FakeGateway.completed());
      call.onCompleted();
      assertEquals(":\n", browser.event());
      assertEquals("event:done\ndata: \n", browser.event());
      assertNull(browser.event());
      assertTrue(browser.headers.contains("Content-Type: text/event-stream"), browser.headers);
    }
    assertEquals("Hello?", question());
    assertTrue(gateway.cancelled.isEmpty());
  }

  @Test
  void anAnswerKeepsNoThreadOfTheServer() throws Exception {
    serve(Map.of());
    try (Browser first = new Browser();
        Browser second = new Browser()) {
      assertEquals(":\n", first.event());
      assertEquals(":\n", second.event());
      nextCall().onError(Status.DATA_LOSS.asException());
      nextCall().onError(Status.DATA_LOSS.asException());
      assertTrue(first.event().startsWith("event:error\n"));
      assertTrue(second.event().startsWith("event:error\n"));
    }
  }

  @Test
  void anErrorIsAnEvent() throws Exception {
    serve(Map.of());
    try (Browser browser = new Browser()) {
      assertEquals(":\n", browser.event());
      nextCall().onError(Status.DATA_LOSS.asException());
      assertEquals("event:error\ndata: DATA_LOSS \n", browser.event());
      assertNull(browser.event());
    }
  }

  @Test
  void anotherFailureIsSpringsAffair() throws Exception {
    serve(Map.of());
    context.getBean(DashgateClient.class).close();
    try (Browser browser = new Browser()) {
      assertTrue(browser.headers.startsWith("HTTP/1.1 500"), browser.headers);
    }
  }

  @Test
  void leavingWhileTheModelThinksCancels() throws Exception {
    serve(Map.of());
    try (Browser browser = new Browser()) {
      assertEquals(":\n", browser.event());
    }
    ServerCallStreamObserver<ConverseStreamResponse> call =
        (ServerCallStreamObserver<ConverseStreamResponse>) nextCall();
    // The system may accept what is written first.
    for (int beats = 0; !call.isCancelled() && beats < 100; beats++) {
      call.onNext(heartbeat());
      TimeUnit.MILLISECONDS.sleep(50);
    }
    assertNotNull(gateway.awaitCancelled());
  }

  @Test
  void leavingInTheMiddleOfTheTextCancels() throws Exception {
    gateway.stream = SpringRecipeTest::writeWithoutEnd;
    serve(Map.of());
    try (Browser browser = new Browser()) {
      assertTrue(browser.event().startsWith("data: and on and on "));
      assertNull(gateway.cancelled.poll());
    }
    assertNotNull(gateway.awaitCancelled());
  }

  @Test
  void theTimeoutCancels() throws Exception {
    serve(Map.of("ask.timeout", "300"));
    try (Browser browser = new Browser()) {
      assertEquals(":\n", browser.event());
      assertNotNull(gateway.awaitCancelled());
      assertNull(browser.event());
    }
  }

  @Test
  void theTimeoutCancelsWhenTheBrowserDoesNotRead() throws Exception {
    gateway.stream = SpringRecipeTest::writeWithoutEnd;
    serve(Map.of("ask.timeout", "1000"));
    try (Browser browser = new Browser()) {
      assertNotNull(gateway.awaitCancelled(), browser.headers);
    }
  }

  @Test
  void closingTheContextClosesTheClient() throws Exception {
    serve(Map.of());
    DashgateClient client = context.getBean(DashgateClient.class);
    try (Browser browser = new Browser()) {
      assertEquals(":\n", browser.event());
      context.close();
      assertNotNull(gateway.awaitCancelled());
      assertEquals("event:error\ndata: CANCELLED \n", browser.event());
      assertNull(browser.event());
    }
    Conversation conversation = new Conversation("m").user("Hello?");
    assertThrows(IllegalStateException.class, () -> client.converse(conversation));
  }

  private void serve(Map<String, Object> properties) throws Exception {
    Map<String, Object> all = new HashMap<>(properties);
    all.put("dashgate.target", gateway.target());
    context = new AnnotationConfigWebApplicationContext();
    context.getEnvironment().getPropertySources().addFirst(new MapPropertySource("test", all));
    context.register(Mvc.class, ClientConfiguration.class, AskController.class);
    tomcat = new Tomcat();
    tomcat.setBaseDir(folder.toString());
    tomcat.setPort(0);
    tomcat.getConnector().setProperty("maxThreads", "1");
    Context root = tomcat.addContext("", null);
    Wrapper servlet = Tomcat.addServlet(root, "spring", new DispatcherServlet(context));
    servlet.setAsyncSupported(true);
    servlet.setLoadOnStartup(1);
    servlet.addMapping("/");
    quiet("org.springframework", "org.apache", "io.grpc", root.getLogName());
    tomcat.start();
  }

  private void quiet(String... names) {
    loggers = Stream.of(names).map(Logger::getLogger).toList();
    loggers.forEach(it -> it.setLevel(Level.OFF));
  }

  private StreamObserver<ConverseStreamResponse> nextCall() throws InterruptedException {
    return calls.poll(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS);
  }

  private String question() {
    return gateway.streamRequests.get(0).getConversation().getMessages(0).getContent(0).getText();
  }

  private static void writeWithoutEnd(
      ConverseStreamRequest request, StreamObserver<ConverseStreamResponse> out) {
    ServerCallStreamObserver<ConverseStreamResponse> caller =
        (ServerCallStreamObserver<ConverseStreamResponse>) out;
    caller.setOnReadyHandler(
        () -> {
          while (caller.isReady()) {
            out.onNext(FakeGateway.text("and on ".repeat(100)));
          }
        });
  }

  private static ConverseStreamResponse heartbeat() {
    return ConverseStreamResponse.newBuilder().setHeartbeat(Heartbeat.newBuilder()).build();
  }

  /** Asks, and reads the events one by one. */
  private final class Browser implements AutoCloseable {
    final String headers;
    private final Socket socket;
    private final BufferedReader reader;

    Browser() throws IOException {
      socket = new Socket(InetAddress.getLoopbackAddress(), tomcat.getConnector().getLocalPort());
      socket.setSoTimeout((int) TimeUnit.SECONDS.toMillis(FakeGateway.WAIT_SECONDS));
      // HTTP/1.0 has no chunks, whose sizes would be between the lines.
      String request = "GET /ask?question=Hello%3F HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n";
      socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
      reader =
          new BufferedReader(
              new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
      headers = event();
    }

    /** Returns the lines until an empty one; null at the end. */
    String event() throws IOException {
      StringBuilder lines = new StringBuilder();
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        if (line.isEmpty()) {
          return lines.toString();
        }
        lines.append(line).append('\n');
      }
      return null;
    }

    @Override
    public void close() throws IOException {
      socket.close();
    }
  }
}
