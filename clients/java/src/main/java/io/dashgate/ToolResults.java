package io.dashgate;

import io.dashgate.v1.ToolCall;
import java.util.Arrays;
import java.util.List;

/**
 * The results of the functions that an answer requests. However their round ends, each call has one
 * in the conversation, in the order of the calls, so that the conversation can be continued.
 */
final class ToolResults {
  private static final String FAILED = "{\"error\":\"the function failed\"}";
  private static final String NOT_RUN = "{\"error\":\"the function was not run\"}";

  private final Conversation conversation;
  private final List<ToolCall> calls;

  /** What is appended for each call if the round ends now. Guarded by this. */
  private final String[] results;

  private boolean isClosed;

  ToolResults(Conversation conversation, List<ToolCall> calls) {
    this.conversation = conversation;
    this.calls = List.copyOf(calls);
    this.results = new String[calls.size()];
    Arrays.fill(results, NOT_RUN);
  }

  List<ToolCall> calls() {
    return calls;
  }

  /** Notes that a function is about to run. Returns false if it must not: the round is over. */
  synchronized boolean begin(int at) {
    if (!isClosed) {
      results[at] = FAILED;
    }
    return !isClosed;
  }

  synchronized void set(int at, String result) {
    results[at] = result;
  }

  /** Ends the round, once: appends the results. What functions return later is dropped. */
  synchronized void close() {
    if (isClosed) {
      return;
    }
    isClosed = true;
    for (int at = 0; at < results.length; at++) {
      conversation.toolResult(calls.get(at), results[at]);
    }
  }
}
