package io.dashgate;

import io.grpc.Context;
import io.grpc.Status;
import java.util.Collection;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ForkJoinPool;
import java.util.function.Function;

/** The rounds of calls of the model and of its tools. */
final class ToolLoop {
  private final Conversation conversation;
  private final ToolRound round;
  private final ToolSettings settings;
  private int rounds;

  // Guarded by this.
  private ToolResults current;
  private boolean isLeft;

  ToolLoop(Conversation conversation, Collection<Tool> tools, ToolSettings settings) {
    this.conversation = conversation;
    this.round = new ToolRound(tools, settings.parallel());
    this.settings = settings;
    tools.forEach(tool -> conversation.tools(tool.declaration()));
  }

  /** Returns the options of the next call. */
  CallSettings calls() {
    // Each round is a call with its own request id, also if the metadata has one.
    return rounds == 0
        ? settings.calls()
        : settings.calls().requestId(UUID.randomUUID().toString());
  }

  /**
   * Appends an answer, and runs the functions that it requests. Returns whether the model is called
   * again, with their results.
   */
  boolean proceed(Answer answer) {
    ToolResults results = append(answer);
    if (results.calls().isEmpty()) {
      return false;
    }
    if (rounds == settings.maxRounds()) {
      results.close();
      throw DashgateException.own(
          Status.Code.FAILED_PRECONDITION,
          "TOOL_ROUNDS",
          "the model still asks for tools after " + rounds + " rounds of them",
          answer.requestId());
    }
    rounds++;
    round.run(results);
    return true;
  }

  private synchronized ToolResults append(Answer answer) {
    ToolResults results = new ToolResults(conversation, answer.toolCalls());
    if (isLeft) {
      throw DashgateException.own(
          Status.Code.CANCELLED, "", "the loop was left", answer.requestId());
    }
    conversation.append(answer);
    current = results;
    return results;
  }

  /** Leaves the conversation to its owner: all calls have a result, and nothing follows. */
  synchronized void leave() {
    isLeft = true;
    if (current != null) {
      current.close();
    }
  }

  /** Runs the loop with calls that return futures. Functions run in a common thread pool. */
  CompletableFuture<Answer> runAsync(Function<CallSettings, CompletableFuture<Answer>> call) {
    CompletableFuture<Answer> last = roundsAsync(call);
    last.whenComplete((answer, fault) -> leave());
    return last;
  }

  private CompletableFuture<Answer> roundsAsync(
      Function<CallSettings, CompletableFuture<Answer>> call) {
    return Futures.compose(
        call.apply(calls()),
        answer ->
            Futures.compose(
                proceedAsync(answer),
                goesOn ->
                    goesOn ? roundsAsync(call) : CompletableFuture.completedFuture(answer)));
  }

  private CompletableFuture<Boolean> proceedAsync(Answer answer) {
    CompletableFuture<Boolean> goesOn = new CompletableFuture<>();
    Runnable work =
        () -> {
          try {
            goesOn.complete(proceed(answer));
          } catch (Throwable e) {
            goesOn.completeExceptionally(e);
          }
        };
    // Not in a thread of the channel, which a function may block.
    ForkJoinPool.commonPool().execute(Context.current().wrap(work));
    return goesOn;
  }
}
