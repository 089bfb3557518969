package recipes;

import io.dashgate.CallSettings;
import io.dashgate.Contents;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletionService;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorCompletionService;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Consumer;

/** Asks about many files. */
public final class Batch {
  private Batch() {}

  // region batch
  /** Returns a line for each file. At most so many calls run at the same time. */
  public static Map<Path, String> transcribe(
      DashgateClient client, List<Path> files, int atOnce, Consumer<String> progress)
      throws InterruptedException, ExecutionException {
    ExecutorService pool = Executors.newFixedThreadPool(atOnce);
    try {
      CompletionService<Map.Entry<Path, String>> calls = new ExecutorCompletionService<>(pool);
      files.forEach(file -> calls.submit(() -> Map.entry(file, transcribe(client, file))));
      Map<Path, String> lines = new TreeMap<>();
      while (lines.size() < files.size()) {
        Map.Entry<Path, String> line = calls.take().get();
        lines.put(line.getKey(), line.getValue());
        progress.accept(lines.size() + " of " + files.size());
      }
      return lines;
    } finally {
      pool.shutdownNow(); // Interrupts the calls that are left, which cancels them.
    }
  }

  private static String transcribe(DashgateClient client, Path file) {
    Conversation conversation = new Conversation("qwen-audio-turbo");
    conversation.user(Contents.audio(file), "What is said in this audio?");
    // A second run soon after the first one gets the same answers, and does not pay for them.
    // The names must differ, and be ASCII without spaces; otherwise, leave the id out.
    CallSettings settings = CallSettings.create().requestId("transcribe-" + file.getFileName());
    try {
      return client.converse(conversation, settings).text();
    } catch (DashgateException e) {
      return "failed: " + e.code() + " " + e.rawReason();
    }
  }
  // endregion
}
