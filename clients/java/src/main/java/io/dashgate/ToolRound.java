package io.dashgate;

import io.dashgate.v1.ToolCall;
import io.grpc.Context;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

/** Runs the functions that an answer requests. */
final class ToolRound {
  /** How many functions run at the same time. */
  static final int AT_ONCE = 16;

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

  /** Runs the functions. What one of them throws is thrown when all calls have a result. */
  void run(ToolResults results) {
    // Not catch: whatever is thrown, also what is not declared, is passed on.
    try {
      if (parallel && results.calls().size() > 1) {
        runTogether(results);
      } else {
        runInOrder(results);
      }
    } finally {
      results.close();
    }
  }

  private void runInOrder(ToolResults results) {
    for (int at = 0; at < results.calls().size() && results.begin(at); at++) {
      results.set(at, result(results.calls().get(at)));
      if (Thread.currentThread().isInterrupted()) {
        // Neither another function nor the model is called.
        throw interrupted();
      }
    }
  }

  private void runTogether(ToolResults results) {
    int count = results.calls().size();
    AtomicInteger next = new AtomicInteger();
    Throwable[] faults = new Throwable[count];
    Runnable work =
        () -> {
          for (int at = next.getAndIncrement();
              at < count && results.begin(at);
              at = next.getAndIncrement()) {
            try {
              results.set(at, result(results.calls().get(at)));
            } catch (Throwable e) {
              faults[at] = e;
            }
          }
        };
    List<Thread> threads = new ArrayList<>();
    try {
      for (int at = 0; at < Math.min(count, AT_ONCE); at++) {
        Thread thread = new Thread(Context.current().wrap(work), "dashgate-tool-" + at);
        thread.setDaemon(true);
        thread.start();
        threads.add(thread);
      }
      for (Thread thread : threads) {
        thread.join();
      }
    } catch (InterruptedException e) {
      // Before they return because of that.
      results.close();
      threads.forEach(Thread::interrupt);
      Thread.currentThread().interrupt();
      throw interrupted();
    }
    Stream.of(faults)
        .filter(Objects::nonNull)
        .findFirst()
        .ifPresent(
            first -> {
              throw Throwables.raise(first);
            });
  }

  private static DashgateException interrupted() {
    return DashgateException.own(Status.Code.CANCELLED, "", "the thread was interrupted", "");
  }

  private String result(ToolCall call) {
    Tool tool = tools.get(call.getName());
    return tool == null
        ? Json.error("there is no tool " + call.getName())
        : Objects.requireNonNull(
            tool.call(call.getArguments()), "the function of a tool returned null");
  }
}
