package io.dashgate;

import io.dashgate.v1.GenerationOptions;
import io.dashgate.v1.JsonSchema;
import io.dashgate.v1.ResponseFormat;
import io.grpc.Status;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiFunction;

/** A call whose answer is a value of a type. */
final class StructuredCall<T> {
  private final OutputType<T> type;
  private final BiFunction<Conversation, CallSettings, CompletableFuture<Answer>> call;

  StructuredCall(
      OutputType<T> type,
      BiFunction<Conversation, CallSettings, CompletableFuture<Answer>> call) {
    this.type = type;
    this.call = call;
  }

  CompletableFuture<TypedAnswer<T>> make(
      Conversation conversation, boolean repair, CallSettings settings) {
    CallSettings typed = settings.options(options(settings));
    // The caller's conversation is not changed, and may change while the call runs.
    Conversation copy = Conversation.of(conversation.raw());
    return Futures.compose(
        call.apply(copy, typed),
        answer ->
            type.parse(
                answer.text(),
                value -> CompletableFuture.completedFuture(new TypedAnswer<>(value, answer)),
                error ->
                    repair
                        ? repaired(copy, typed, answer, error)
                        : CompletableFuture.failedFuture(invalid(answer, error))));
  }

  /** Shows the error to the model, whose second answer decides. */
  private CompletableFuture<TypedAnswer<T>> repaired(
      Conversation conversation, CallSettings settings, Answer wrong, String error) {
    conversation.append(wrong);
    conversation.user(
        "This is not a value of the JSON Schema: "
            + error
            + ". Answer again, with JSON that conforms to the schema and nothing else.");
    // It is another call.
    CallSettings own = settings.requestId(UUID.randomUUID().toString());
    return Futures.compose(
        call.apply(conversation, own),
        answer ->
            type.parse(
                answer.text(),
                value -> CompletableFuture.completedFuture(new TypedAnswer<>(value, answer)),
                again -> CompletableFuture.failedFuture(invalid(answer, again))));
  }

  private GenerationOptions options(CallSettings settings) {
    GenerationOptions.Builder options =
        settings.options() == null
            ? GenerationOptions.newBuilder()
            : settings.options().toBuilder();
    JsonSchema.Builder schema =
        JsonSchema.newBuilder().setName(type.name()).setSchema(type.schema());
    return options
        .setResponseFormat(ResponseFormat.newBuilder().setJsonSchema(schema))
        .build();
  }

  private static DashgateException invalid(Answer answer, String error) {
    DashgateException fault =
        DashgateException.own(
            Status.Code.INTERNAL, "OUTPUT_INVALID", error, answer.requestId());
    fault.outputHasStarted();
    if (answer.raw().hasUsage()) {
      fault.usageBefore(answer.usage());
    }
    return fault;
  }
}
