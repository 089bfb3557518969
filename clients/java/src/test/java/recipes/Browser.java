package recipes;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.dashgate.AnswerStream;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateException;
import io.dashgate.v1.ConverseStreamResponse;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/** Streams answers to browsers. */
public final class Browser {
  private Browser() {}

  // region serve
  /** Serves {@code /ask?QUESTION} as server-sent events. */
  public static HttpServer serve(DashgateClient client, InetSocketAddress address)
      throws IOException {
    HttpServer server = HttpServer.create(address, 0);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/ask", exchange -> ask(client, exchange));
    server.start();
    return server;
  }

  private static void ask(DashgateClient client, HttpExchange exchange) throws IOException {
    Conversation conversation = new Conversation("qwen3.6-plus");
    conversation.user(exchange.getRequestURI().getQuery());
    exchange.getResponseHeaders().set("content-type", "text/event-stream");
    exchange.sendResponseHeaders(200, 0);
    // Writing fails when the browser has left. Closing the stream then cancels the call.
    try (OutputStream body = exchange.getResponseBody();
        AnswerStream stream = client.stream(conversation)) {
      try {
        for (ConverseStreamResponse event : stream.events()) {
          // Heartbeats become comments: a browser that leaves is noticed while the model thinks.
          String text = event.getDelta().getText();
          String lines = text.replaceAll("\r\n?|\n", "\ndata: ");
          send(body, text.isEmpty() ? ":" : "data: " + lines);
        }
        send(body, "event: done\ndata: " + stream.finalAnswer().rawFinishReason());
      } catch (DashgateException e) {
        send(body, "event: error\ndata: " + e.code() + " " + e.rawReason());
      }
    }
  }

  private static void send(OutputStream body, String event) throws IOException {
    body.write((event + "\n\n").getBytes(StandardCharsets.UTF_8));
    body.flush();
  }
  // endregion
}
