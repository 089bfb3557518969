import com.google.gson.JsonObject;
import io.dashgate.AnswerStream;
import io.dashgate.DashgateClient;
import io.grpc.Context;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** Cancels a call as the job specifies: by its context, or by closing the stream. */
final class Cancel implements AutoCloseable {
  final Context.CancellableContext context = Context.current().withCancellation();
  private final ScheduledExecutorService clock =
      Executors.newSingleThreadScheduledExecutor(
          task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
          });
  private final int afterEvents;

  Cancel(JsonObject call) {
    JsonObject cancel = call.has("cancel") ? call.getAsJsonObject("cancel") : new JsonObject();
    Job.known(cancel, "after_ms", "after_events");
    afterEvents = cancel.has("after_events") ? cancel.get("after_events").getAsInt() : -1;
    if (cancel.has("after_ms")) {
      long delay = cancel.get("after_ms").getAsLong();
      clock.schedule(() -> context.cancel(null), delay, TimeUnit.MILLISECONDS);
    }
  }

  AnswerStream stream(DashgateClient client, JsonObject call) throws Exception {
    AnswerStream stream =
        context.call(() -> client.stream(Job.conversation(call), Job.settings(call)));
    count(stream, 0);
    return stream;
  }

  void count(AnswerStream stream, int seen) {
    if (seen == afterEvents) {
      stream.close();
      // Reads the buffered events; then the library reports the end of the call.
      stream.finalAnswer();
    }
  }

  @Override
  public void close() {
    clock.shutdownNow();
    context.close();
  }
}
