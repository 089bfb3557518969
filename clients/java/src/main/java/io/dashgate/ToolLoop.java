package io.dashgate;

import io.dashgate.v1.ToolCall;
import io.grpc.Context;
import io.grpc.Status;
import java.util.Collection;
import java.util.List;
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
    conversation.append(answer);
    List<ToolCall> calls = answer.toolCalls();
    if (calls.isEmpty()) {
      return false;
    }
    if (rounds == settings.maxRounds()) {
      ToolRound.skip(conversation, calls);
      throw DashgateException.own(
          Status.Code.FAILED_PRECONDITION,
          "TOOL_ROUNDS",
          "the model still asks for tools after " + rounds + " rounds of them",
          answer.requestId());
    }
    rounds++;
    round.run(conversation, calls);
    return true;
  }

  /** Runs the loop with calls that return futures. Functions run in a common thread pool. */
  CompletableFuture<Answer> runAsync(Function<CallSettings, CompletableFuture<Answer>> call) {
    return Futures.compose(
        call.apply(calls()),
        answer ->
            Futures.compose(
                proceedAsync(answer),
                goesOn ->
                    goesOn ? runAsync(call) : CompletableFuture.completedFuture(answer)));
  }

  private CompletableFuture<Boolean> proceedAsync(Answer answer) {
    CompletableFuture<Boolean> goesOn = new CompletableFuture<>();
    Runnable work =
        () -> {
          try {
            goesOn.complete(proceed(answer));
          } catch (RuntimeException | Error e) {
            goesOn.completeExceptionally(e);
          }
        };
    // Not in a thread of the channel, which a function may block.
    ForkJoinPool.commonPool().execute(Context.current().wrap(work));
    return goesOn;
  }
}
