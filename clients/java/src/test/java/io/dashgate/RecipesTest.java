package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpServer;
import io.dashgate.v1.Choice;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.Message;
import io.dashgate.v1.ToolCall;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.propagation.ContextPropagators;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.testing.exporter.InMemorySpanExporter;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Scanner;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import recipes.Batch;
import recipes.Browser;
import recipes.Chat;
import recipes.Throttling;
import recipes.Tracing;

@Timeout(60)
class RecipesTest {
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
  void streamToABrowser() throws Exception {
    try (DashgateClient client = gateway.client().build()) {
      HttpServer server = serve(client);
      try {
        assertEquals(":\n\ndata: Hello\n\n:\n\nevent: done\ndata: \n\n", get(server));
        gateway.stream =
            (request, out) -> {
              out.onNext(FakeGateway.text("of\r\nthree\rlines\n"));
              out.onError(Status.DATA_LOSS.asException());
            };
        String lines = "data: of\ndata: three\ndata: lines\ndata: \n\n";
        assertEquals(lines + "event: error\ndata: DATA_LOSS \n\n", get(server));
      } finally {
        server.stop(0);
      }
    }
  }

  @Test
  void cancelWhenTheBrowserLeaves() throws Exception {
    gateway.stream =
        (request, out) -> {
          ServerCallStreamObserver<ConverseStreamResponse> caller =
              (ServerCallStreamObserver<ConverseStreamResponse>) out;
          out.onNext(FakeGateway.started());
          Runnable more =
              () -> {
                while (caller.isReady()) {
                  out.onNext(FakeGateway.text("and on ".repeat(100)));
                }
              };
          caller.setOnReadyHandler(more);
        };
    try (DashgateClient client = gateway.client().build()) {
      HttpServer server = serve(client);
      try {
        try (Socket browser = new Socket(InetAddress.getLoopbackAddress(), port(server))) {
          String request = "GET /ask?Hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
          browser.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
          BufferedReader reader =
              new BufferedReader(new InputStreamReader(browser.getInputStream()));
          assertEquals("HTTP/1.1 200 OK", reader.readLine());
        }
        assertNotNull(gateway.awaitCancelled());
      } finally {
        server.stop(0);
      }
    }
  }

  @Test
  void transcribeABatch(@TempDir Path folder) throws Exception {
    List<Path> files = new ArrayList<>();
    for (int at = 0; at < 7; at++) {
      files.add(Files.write(folder.resolve(at + ".wav"), new byte[] {(byte) at}));
    }
    AtomicInteger running = new AtomicInteger();
    gateway.converse =
        (request, out) -> {
          assertTrue(running.incrementAndGet() <= 3);
          if (request.getRequestId().equals("transcribe-4.wav")) {
            running.decrementAndGet();
            out.onError(Status.DATA_LOSS.asException());
            return;
          }
          running.decrementAndGet();
          out.onNext(answer(Contents.text(request.getRequestId())));
          out.onCompleted();
        };
    List<String> progress = new ArrayList<>();
    try (DashgateClient client = gateway.client().build()) {
      Map<Path, String> lines = Batch.transcribe(client, files, 3, progress::add);
      assertEquals("transcribe-0.wav", lines.get(files.get(0)));
      assertEquals("failed: DATA_LOSS ", lines.get(files.get(4)));
    }
    assertEquals("7 of 7", progress.get(6));
  }

  @Test
  void chatWithTools() {
    gateway.stream =
        (request, out) -> {
          out.onNext(FakeGateway.started());
          int messages = request.getConversation().getMessagesCount();
          out.onNext(messages == 2 ? toolCall() : FakeGateway.text("It has " + messages + "."));
          out.onNext(FakeGateway.completed());
          out.onCompleted();
        };
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (DashgateClient client = gateway.client().build()) {
      Chat.chat(client, new Scanner("Where is order 17?\nThanks!\n"), new PrintStream(out, true));
    }
    assertEquals(List.of("It has 4.", "It has 6."), out.toString().lines().toList());
  }

  @Test
  void waitForARateLimit() {
    gateway.converse =
        (request, out) -> {
          if (gateway.requests.size() < 3) {
            out.onError(FakeGateway.pushedBack(Status.RESOURCE_EXHAUSTED, "1"));
          } else {
            out.onNext(answer(Contents.text("at last")));
            out.onCompleted();
          }
        };
    Conversation conversation = new Conversation("m").user("Hello?");
    try (DashgateClient client = Throttling.patient(gateway.client())) {
      assertEquals(Optional.empty(), Throttling.askNow(client, conversation));
      assertEquals("at last", client.converse(conversation).text());
      assertEquals("at last", Throttling.askNow(client, conversation).orElseThrow().text());
    }
    assertEquals(4, gateway.requests.size());
  }

  @Test
  void traceToTheGateway() {
    InMemorySpanExporter spans = InMemorySpanExporter.create();
    OpenTelemetrySdk telemetry =
        OpenTelemetrySdk.builder()
            .setTracerProvider(
                SdkTracerProvider.builder()
                    .addSpanProcessor(SimpleSpanProcessor.create(spans))
                    .build())
            .setPropagators(ContextPropagators.create(W3CTraceContextPropagator.getInstance()))
            .build();
    try (telemetry;
        DashgateClient client = gateway.client().intercept(new Tracing(telemetry)).build()) {
      client.converse(new Conversation("m").user("Hello?"));
      SpanData span = spans.getFinishedSpanItems().get(0);
      assertEquals("dashgate.v1.ConversationService/Converse", span.getName());
      String parent = gateway.headers.get(0).get(FakeGateway.key("traceparent"));
      String expected = "00-" + span.getTraceId() + "-" + span.getSpanId() + "-";
      assertEquals(expected, parent.substring(0, expected.length()));
    }
  }

  /** The page shows the code that these tests run. */
  @Test
  void areOnThePage() throws IOException {
    Path root = Path.of(System.getProperty("project.root")).resolve("clients/java");
    String page = Files.readString(root.resolve("RECIPES.md"));
    Matcher blocks =
        Pattern.compile("<!-- from (\\S+)#(\\S+) -->\n```java\n(.*?)\n```\n", Pattern.DOTALL)
            .matcher(page);
    int found = 0;
    while (blocks.find()) {
      found++;
      String code = Files.readString(root.resolve("src/test/java").resolve(blocks.group(1)));
      assertEquals(region(code, blocks.group(2)), blocks.group(3));
    }
    assertEquals(page.split("```java", -1).length - 1, found);
  }

  private static String region(String code, String name) {
    Matcher region =
        Pattern.compile("// region " + name + "\n(.*?)\n *// endregion", Pattern.DOTALL)
            .matcher(code);
    assertTrue(region.find(), name);
    return region.group(1).stripIndent();
  }

  private static HttpServer serve(DashgateClient client) throws IOException {
    return Browser.serve(client, new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
  }

  private static int port(HttpServer server) {
    return server.getAddress().getPort();
  }

  private static String get(HttpServer server) throws IOException, InterruptedException {
    URI uri = URI.create("http://127.0.0.1:" + port(server) + "/ask?Hello");
    HttpRequest request = HttpRequest.newBuilder(uri).build();
    return HttpClient.newHttpClient()
        .send(request, HttpResponse.BodyHandlers.ofString())
        .body();
  }

  private static ConverseResponse answer(io.dashgate.v1.Content content) {
    Message message = Message.newBuilder().addContent(content).build();
    return ConverseResponse.newBuilder()
        .addChoices(Choice.newBuilder().setMessage(message))
        .build();
  }

  private static ConverseStreamResponse toolCall() {
    ToolCall call =
        ToolCall.newBuilder().setId("1").setName("order_state").setArguments("{}").build();
    return ConverseStreamResponse.newBuilder()
        .setDelta(Delta.newBuilder().setToolCall(call))
        .build();
  }
}
