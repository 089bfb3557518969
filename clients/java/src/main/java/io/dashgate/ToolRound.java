package io.dashgate;

import io.dashgate.v1.ToolCall;
import io.grpc.Context;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;

/** Runs the functions that an answer requests, and appends their results. */
final class ToolRound {
  /** The results of functions that brought none: no call stays unanswered. */
  private static final String FAILED = "{\"error\":\"the function failed\"}";

  private static final String NOT_RUN = "{\"error\":\"the function was not run\"}";

  private final Map<String, Tool> tools = new LinkedHashMap<>();
  private final boolean parallel;

  ToolRound(Collection<Tool> tools, boolean parallel) {
    this.parallel = parallel;
    for (Tool tool : tools) {
      if (this.tools.put(tool.name(), tool) != null) {
        throw new IllegalArgumentException("there are two tools named " + tool.name());
      }
    }
  }

  /** Runs the functions. The exception of a function is thrown when all calls have a result. */
  void run(Conversation conversation, List<ToolCall> calls) {
    if (parallel && calls.size() > 1) {
      runTogether(conversation, calls);
    } else {
      runInOrder(conversation, calls);
    }
  }

  /** Appends results for calls whose functions are not run. */
  static void skip(Conversation conversation, List<ToolCall> calls) {
    answer(conversation, calls, NOT_RUN);
  }

  private void runInOrder(Conversation conversation, List<ToolCall> calls) {
    for (int at = 0; at < calls.size(); at++) {
      String result;
      try {
        result = result(calls.get(at));
      } catch (RuntimeException | Error e) {
        conversation.toolResult(calls.get(at), FAILED);
        skip(conversation, calls.subList(at + 1, calls.size()));
        throw e;
      }
      conversation.toolResult(calls.get(at), result);
    }
  }

  private void runTogether(Conversation conversation, List<ToolCall> calls) {
    List<FutureTask<String>> tasks = new ArrayList<>();
    List<Thread> threads = new ArrayList<>();
    for (ToolCall call : calls) {
      FutureTask<String> task = new FutureTask<>(() -> result(call));
      tasks.add(task);
      Thread thread = new Thread(Context.current().wrap(task), "dashgate-tool-" + call.getName());
      thread.setDaemon(true);
      threads.add(thread);
      thread.start();
    }
    Throwable first = null;
    for (int at = 0; at < calls.size(); at++) {
      String result = FAILED;
      try {
        result = tasks.get(at).get();
      } catch (ExecutionException e) {
        first = first == null ? e.getCause() : first;
      } catch (InterruptedException e) {
        threads.forEach(Thread::interrupt);
        Thread.currentThread().interrupt();
        answer(conversation, calls.subList(at, calls.size()), FAILED);
        throw DashgateException.own(
            Status.Code.CANCELLED, "", "the thread was interrupted", "");
      }
      conversation.toolResult(calls.get(at), result);
    }
    if (first instanceof Error) {
      throw (Error) first;
    }
    if (first != null) {
      // A function declares no checked exceptions.
      throw (RuntimeException) first;
    }
  }

  private static void answer(Conversation conversation, List<ToolCall> calls, String result) {
    calls.forEach(call -> conversation.toolResult(call, result));
  }

  private String result(ToolCall call) {
    Tool tool = tools.get(call.getName());
    return tool == null
        ? Json.error("there is no tool " + call.getName())
        : tool.call(call.getArguments());
  }
}
