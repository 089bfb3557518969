package io.dashgate;

import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.LiveServiceGrpc;
import io.dashgate.v1.LiveSetup;
import io.dashgate.v1.SynthesisSetup;
import io.grpc.Channel;
import io.grpc.ManagedChannel;
import java.util.Collection;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/**
 * A client of a dashgate gateway. Use one for the whole program: it is thread-safe and has opens
 * its connections when they are needed.
 *
 * <pre>{@code
 * try (DashgateClient client = DashgateClient.create()) {
 *   Answer answer = client.converse(new Conversation("qwen3.6-plus").user("Hello!"));
 *   System.out.println(answer.text());
 * }
 * }</pre>
 *
 * <p>Every call uses the deadline and the cancellation of the current {@link io.grpc.Context}.
 * Interrupting a waiting thread, completing a future and {@link #close} also cancel calls.
 *
 * <p>A failed call throws a {@link DashgateException}; a future is completed with one.
 */
public final class DashgateClient extends ConversationsClient implements AutoCloseable {
  DashgateClient(Calls calls) {
    super(calls);
  }

  /**
   * Creates a client with all defaults: the gateway at {@code DASHGATE_ADDR} (default: {@code
   * 127.0.0.1:50051}), and the API key in {@code DASHGATE_API_KEY}, if set.
   *
   * @return the client
   */
  public static DashgateClient create() {
    return builder().build();
  }

  /**
   * Creates a client of the gateway at the target, with other defaults.
   *
   * @param target see {@link DashgateClientBuilder#target}
   * @return the client
   */
  public static DashgateClient create(String target) {
    return builder().target(target).build();
  }

  /**
   * Returns a builder with further settings.
   *
   * @return a builder
   */
  public static DashgateClientBuilder builder() {
    return new DashgateClientBuilder();
  }

  /**
   * Returns the next answer when complete.
   *
   * @param conversation the messages, the question last
   * @return the answer
   */
  public Answer converse(Conversation conversation) {
    return converse(conversation, CallSettings.create());
  }

  /**
   * Returns the next answer when complete.
   *
   * @param conversation the messages, the question last
   * @param settings options of this call
   * @return the answer
   */
  public Answer converse(Conversation conversation, CallSettings settings) {
    return UnaryExchange.await(calls.converse(conversation, settings));
  }

  /**
   * Returns a future of the next answer.
   *
   * @param conversation the messages, the question last
   * @return the answer; cancelling or completing the future cancels the call
   */
  public CompletableFuture<Answer> converseAsync(Conversation conversation) {
    return converseAsync(conversation, CallSettings.create());
  }

  /**
   * Returns a future of the next answer.
   *
   * @param conversation the messages, the question last
   * @param settings options of this call
   * @return the answer; cancelling or completing the future cancels the call
   */
  public CompletableFuture<Answer> converseAsync(
      Conversation conversation, CallSettings settings) {
    return calls.converse(conversation, settings);
  }

  /**
   * Returns the next answer as a stream.
   *
   * @param conversation the messages, the question last
   * @return the stream; read it to its end or close it
   */
  public AnswerStream stream(Conversation conversation) {
    return stream(conversation, CallSettings.create());
  }

  /**
   * Returns the next answer as a stream.
   *
   * @param conversation the messages, the question last
   * @param settings options of this call
   * @return the stream; read it to its end or close it
   */
  public AnswerStream stream(Conversation conversation, CallSettings settings) {
    return calls.stream(conversation, settings);
  }

  /**
   * Returns the next answer as a stream, whose events are passed to a consumer.
   *
   * @param conversation the messages, the question last
   * @param consumer receives the events in order, on a thread of the channel. The next event is
   *     requested when it returns; an exception cancels the call and completes the future
   * @return the accumulated answer; cancelling or completing the future cancels the call
   */
  public CompletableFuture<Answer> streamAsync(
      Conversation conversation, Consumer<? super ConverseStreamResponse> consumer) {
    return streamAsync(conversation, CallSettings.create(), consumer);
  }

  /**
   * Returns the next answer as a stream, whose events are passed to a consumer.
   *
   * @param conversation the messages, the question last
   * @param settings options of this call
   * @param consumer receives the events in order, on a thread of the channel. The next event is
   *     requested when it returns; an exception cancels the call and completes the future
   * @return the accumulated answer; cancelling or completing the future cancels the call
   */
  public CompletableFuture<Answer> streamAsync(
      Conversation conversation,
      CallSettings settings,
      Consumer<? super ConverseStreamResponse> consumer) {
    Objects.requireNonNull(consumer, "consumer");
    return calls.streamAsync(conversation, settings, consumer);
  }

  /**
   * Opens a live session: speech in and speech out.
   *
   * @param model the model
   * @return the session; read it to its end or close it
   */
  public LiveSession live(String model) {
    return live(LiveSetup.newBuilder().setModel(model).build(), CallSettings.create());
  }

  /**
   * Opens a live session: speech in and speech out.
   *
   * @param setup the configuration, or the session to resume
   * @param settings options of the session; its deadline is the timeout, none by default
   * @return the session; read it to its end or close it
   */
  public LiveSession live(LiveSetup setup, CallSettings settings) {
    String id = Calls.requestId(settings);
    return new LiveSession(
        calls.opener(
            LiveServiceGrpc.getConverseLiveMethod(), settings, id, LiveOpener.first(setup)),
        new LiveProgress(id, setup.getResume()));
  }

  /**
   * Opens a session that speaks a text while it is written.
   *
   * @param setup the configuration, or the session to resume
   * @return the session; read it to its end or close it
   */
  public SpeechSession speak(SynthesisSetup setup) {
    return speak(setup, CallSettings.create());
  }

  /**
   * Opens a session that speaks a text while it is written.
   *
   * @param setup the configuration, or the session to resume
   * @param settings options of the session, as of {@link #live(LiveSetup, CallSettings)}
   * @return the session; read it to its end or close it
   */
  public SpeechSession speak(SynthesisSetup setup, CallSettings settings) {
    String id = Calls.requestId(settings);
    return new SpeechSession(
        calls.opener(
            LiveServiceGrpc.getSynthesizeLiveMethod(), settings, id, LiveOpener.first(setup)),
        new LiveProgress(id, setup.getResume()));
  }

  /**
   * Returns the answer as a value of a type, whose JSON Schema the model gets. The conversation is
   * not changed.
   *
   * @param <T> the value
   * @param type the type, for example of a protobuf message
   * @param conversation the messages, the question last
   * @return the value with its answer
   */
  public <T> TypedAnswer<T> converseAs(OutputType<T> type, Conversation conversation) {
    return converseAs(type, conversation, false, CallSettings.create());
  }

  /**
   * Returns the answer as a value of a type, whose JSON Schema the model gets. The conversation is
   * not changed. An answer that is not of the type is {@code INTERNAL} with {@code OUTPUT_INVALID},
   * the message of the parser and the usage.
   *
   * @param <T> the value
   * @param type the type, for example of a protobuf message
   * @param conversation the messages, the question last
   * @param repair whether the model is first shown the error, once
   * @param settings options of each call; the response format is replaced
   * @return the value with its answer
   */
  public <T> TypedAnswer<T> converseAs(
      OutputType<T> type, Conversation conversation, boolean repair, CallSettings settings) {
    return UnaryExchange.await(converseAsAsync(type, conversation, repair, settings));
  }

  /**
   * Returns a future of an answer as a value, as {@link #converseAs(OutputType, Conversation,
   * boolean, CallSettings)}.
   *
   * @param <T> the value
   * @param type the type, for example of a protobuf message
   * @param conversation the messages, the question last
   * @param repair whether the model is first shown the error, once
   * @param settings options of each call; the response format is replaced
   * @return the value with its answer; cancelling or completing the future cancels the call
   */
  public <T> CompletableFuture<TypedAnswer<T>> converseAsAsync(
      OutputType<T> type, Conversation conversation, boolean repair, CallSettings settings) {
    return new StructuredCall<>(type, this::converseAsync).make(conversation, repair, settings);
  }

  /**
   * Runs the tools that the model calls, in at most 8 rounds, until it returns an answer without
   * tool calls.
   *
   * @param conversation the messages, the question last; answers and results are appended
   * @param tools the tools that the model may call
   * @return the last answer, which has no tool calls
   */
  public Answer runTools(Conversation conversation, Collection<Tool> tools) {
    return runTools(conversation, tools, ToolSettings.create());
  }

  /**
   * Declares the tools and runs those that the model calls, until it returns an answer without tool
   * calls.
   *
   * @param conversation the messages, the question last; answers and results are appended
   * @param tools the tools that the model may call
   * @param settings the number of rounds, and options of each call
   * @return the last answer, which has no tool calls
   */
  public Answer runTools(
      Conversation conversation, Collection<Tool> tools, ToolSettings settings) {
    ToolLoop loop = new ToolLoop(conversation, tools, settings);
    Answer answer;
    do {
      answer = converse(conversation, loop.calls());
    } while (loop.proceed(answer));
    return answer;
  }

  /**
   * Runs a tool loop, as {@link #runTools(Conversation, Collection, ToolSettings)}. Functions run
   * in a thread of the common pool. If the future is cancelled while one runs, all calls have a
   * result then, and what it returns is dropped.
   *
   * @param conversation the messages, the question last; do not change it until the future is
   *     complete
   * @param tools the tools that the model may call
   * @param settings the number of rounds, and options of each call
   * @return the last answer; cancelling or completing the future cancels the call that is running
   */
  public CompletableFuture<Answer> runToolsAsync(
      Conversation conversation, Collection<Tool> tools, ToolSettings settings) {
    return new ToolLoop(conversation, tools, settings)
        .runAsync(calls -> converseAsync(conversation, calls));
  }

  /**
   * Runs a tool loop with streams.
   *
   * @param conversation the messages, the question last; answers and results are appended
   * @param tools the tools that the model may call
   * @return the events of all rounds; read it to its end or close it
   */
  public ToolStream streamTools(Conversation conversation, Collection<Tool> tools) {
    return streamTools(conversation, tools, ToolSettings.create());
  }

  /**
   * Runs a tool loop with streams.
   *
   * @param conversation the messages, the question last; answers and results are appended
   * @param tools the tools that the model may call
   * @param settings the number of rounds, and options of each call
   * @return the events of all rounds; read it to its end or close it
   */
  public ToolStream streamTools(
      Conversation conversation, Collection<Tool> tools, ToolSettings settings) {
    ToolLoop loop = new ToolLoop(conversation, tools, settings);
    return new ToolStream(loop, () -> stream(conversation, loop.calls()));
  }

  /**
   * Runs a tool loop with streams, whose events are passed to a consumer.
   *
   * @param conversation the messages, the question last; do not change it until the future is
   *     complete
   * @param tools the tools that the model may call
   * @param settings the number of rounds, and options of each call
   * @param consumer receives the events of all rounds, as in {@link #streamAsync}
   * @return the last answer; cancelling or completing the future cancels the call that is running
   */
  public CompletableFuture<Answer> streamToolsAsync(
      Conversation conversation,
      Collection<Tool> tools,
      ToolSettings settings,
      Consumer<? super ConverseStreamResponse> consumer) {
    Objects.requireNonNull(consumer, "consumer");
    return new ToolLoop(conversation, tools, settings)
        .runAsync(calls -> streamAsync(conversation, calls, consumer));
  }

  /**
   * Returns the channel with this client's metadata, for the generated stubs, such as {@code
   * ConversationServiceGrpc.newBlockingStub(client.channel())}. Deadlines, idle timeouts and
   * request ids are set by the caller.
   *
   * @return the channel
   */
  public Channel channel() {
    return calls.channel();
  }

  /**
   * Cancels all calls and closes the connection; a channel passed by the caller stays open. Closing
   * again has no effect. Before, it waits, for at most 2 seconds, until the gateway has ended the
   * calls whose streams were left.
   */
  @Override
  public void close() {
    calls.close();
  }

  @Override
  public String toString() {
    return "DashgateClient{" + calls + "}";
  }

  /** Null if the channel was passed by the caller. */
  ManagedChannel owned() {
    return calls.owned();
  }
}
