package recipes;

import io.dashgate.Answer;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.servlet.mvc.method.annotation.SseEmitter;
import org.springframework.web.servlet.mvc.method.annotation.SseEmitter.SseEventBuilder;

// region controller
/** Serves {@code /ask?question=QUESTION} as server-sent events. */
@RestController
public class AskController {
  private final DashgateClient client;
  private final long timeout;

  /** The timeout is in milliseconds. Without one, Tomcat ends an answer after 30 seconds. */
  public AskController(DashgateClient client, @Value("${ask.timeout:600000}") long timeout) {
    this.client = client;
    this.timeout = timeout;
  }

  /** Returns at once: no thread of the server waits for the answer. */
  @GetMapping("/ask")
  public SseEmitter ask(@RequestParam("question") String question) {
    Conversation conversation = new Conversation("qwen3.6-plus").user(question);
    SseEmitter emitter = new SseEmitter(timeout);
    CompletableFuture<Answer> call =
        client.streamAsync(conversation, event -> sendText(emitter, event.getDelta().getText()));
    // The completion follows the timeout, but only after a write that waits for a slow browser.
    emitter.onTimeout(() -> call.cancel(true));
    emitter.onCompletion(() -> call.cancel(true));
    call.whenComplete((answer, failure) -> end(emitter, answer, failure));
    return emitter;
  }

  /** Heartbeats become comments: a browser that leaves is noticed while the model thinks. */
  private static void sendText(SseEmitter emitter, String text) {
    SseEventBuilder event = SseEmitter.event();
    send(emitter, text.isEmpty() ? event.comment("") : event.data(lines(text)));
  }

  private static void end(SseEmitter emitter, Answer answer, Throwable failure) {
    if (answer != null) {
      sendLast(emitter, "done", answer.rawFinishReason());
    } else if (failure instanceof DashgateException e) {
      sendLast(emitter, "error", e.code() + " " + e.rawReason());
    } else if (!(failure instanceof CancellationException)
        && !(failure instanceof UncheckedIOException)) {
      emitter.completeWithError(failure);
    } // Otherwise the time is over or the browser has left, and the server ends the emitter.
  }

  private static void sendLast(SseEmitter emitter, String name, String text) {
    send(emitter, SseEmitter.event().name(name).data(lines(text)));
    emitter.complete();
  }

  /** Throws if the browser has left. The exception of a consumer cancels the call. */
  private static void send(SseEmitter emitter, SseEventBuilder event) {
    try {
      emitter.send(event);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A browser removes the first space of each line, and Spring writes none before the text. */
  private static String lines(String text) {
    return " " + text.replaceAll("\r\n?|\n", "\n ");
  }
}
// endregion
