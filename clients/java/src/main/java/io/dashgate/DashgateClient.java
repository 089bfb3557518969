package io.dashgate;

import io.dashgate.v1.CallServiceGrpc;
import io.dashgate.v1.CancelCallRequest;
import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.GetModelRequest;
import io.dashgate.v1.ListModelsRequest;
import io.dashgate.v1.LiveServiceGrpc;
import io.dashgate.v1.LiveSetup;
import io.dashgate.v1.MediaServiceGrpc;
import io.dashgate.v1.Model;
import io.dashgate.v1.ModelServiceGrpc;
import io.dashgate.v1.ResumeSession;
import io.dashgate.v1.SynthesisSetup;
import io.dashgate.v1.UploadMediaRequest;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.stub.MetadataUtils;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * A client of a dashgate gateway. Use one for the whole program: it is thread-safe and has one
 * connection, which is opened by the first call.
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
public final class DashgateClient implements AutoCloseable {
  /** The largest response of the gateway. */
  static final int MAX_ANSWER_BYTES = 64 * 1024 * 1024;

  /**
   * The gateway's own timeout for DashScope is shorter, so this limit is for a gateway that hangs.
   */
  static final Duration UNARY_TIMEOUT = Duration.ofMinutes(10);

  /** Four heartbeats of the gateway. */
  static final Duration IDLE_TIMEOUT = Duration.ofSeconds(60);

  /** The default number of rounds of a tool loop. */
  private static final int MAX_ROUNDS = 8;

  /** The connection's threads stop immediately, unless the machine is overloaded. */
  private static final long CLOSE_SECONDS = 5;

  private static final Metadata.Key<String> AUTHORIZATION = ascii("authorization");
  private static final Metadata.Key<String> REQUEST_ID = ascii("x-request-id");

  private final Channel channel;
  /** Null if the channel was passed by the caller, who closes it. */
  private final ManagedChannel owned;

  private final Metadata metadata;
  /** Null for the default of each kind of call. */
  private final Duration timeout;

  private final Duration idleTimeout;
  private final Set<Exchange<?, ?>> running = ConcurrentHashMap.newKeySet();
  private final Leaving leaving;

  private volatile boolean closed;

  DashgateClient(
      Channel channel,
      ManagedChannel owned,
      Metadata metadata,
      String apiKey,
      Duration timeout,
      Duration idleTimeout) {
    this.channel = channel;
    this.leaving = new Leaving(channel);
    this.owned = owned;
    this.metadata = metadata;
    this.timeout = timeout;
    this.idleTimeout = idleTimeout;
    if (apiKey != null) {
      metadata.put(AUTHORIZATION, "Bearer " + apiKey);
    }
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
    return Answer.of(UnaryExchange.await(startConverse(conversation, settings)));
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
    CompletableFuture<ConverseResponse> response = startConverse(conversation, settings);
    CompletableFuture<Answer> answer = new CompletableFuture<>();
    // Not thenApply: it would wrap the exception, and would not pass on a cancellation.
    response.whenComplete(
        (value, fault) -> {
          if (fault == null) {
            answer.complete(Answer.of(value));
          } else {
            answer.completeExceptionally(fault);
          }
        });
    answer.whenComplete((value, fault) -> response.cancel(false));
    return answer;
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
    ConverseStreamRequest request = Requests.stream(conversation, settings, requestId(settings));
    return AnswerStream.begin(
        streamCall(settings, request.getRequestId()),
        headers(settings),
        request,
        running,
        idleTimeout);
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
    ConverseStreamRequest request = Requests.stream(conversation, settings, requestId(settings));
    return ObservedStream.begin(
        streamCall(settings, request.getRequestId()),
        headers(settings),
        request,
        running,
        consumer,
        idleTimeout);
  }

  /**
   * Cancels a running call of this caller by its request id, whatever process made it. Its streams
   * fail with {@code ABORTED} and the reason {@code CALL_CANCELLED}. If no such call is running,
   * the reason of the exception is {@code CALL_NOT_FOUND}.
   *
   * @param requestId the request id of the call
   */
  public void cancelCall(String requestId) {
    cancelCall(requestId, CallSettings.create());
  }

  /**
   * Cancels a running call of this caller by its request id, as {@link #cancelCall(String)}.
   *
   * @param requestId the request id of the call
   * @param settings options of this call; generation options and request id are not used
   */
  public void cancelCall(String requestId, CallSettings settings) {
    Objects.requireNonNull(requestId, "requestId");
    CancelCallRequest request = CancelCallRequest.newBuilder().setRequestId(requestId).build();
    query(CallServiceGrpc.getCancelCallMethod(), request, settings.requestId(requestId));
  }

  /**
   * Uploads a file to DashScope's storage, in chunks.
   *
   * @param model the model that will use the file
   * @param file the file
   * @return the URI, for a content part such as {@link Contents#audio(String)}, and its lifetime
   */
  public UploadMediaResponse upload(String model, Path file) {
    return upload(model, Upload.of(file));
  }

  /**
   * Uploads a file to DashScope's storage, in chunks.
   *
   * @param model the model that will use the file
   * @param upload the file
   * @return the URI, for a content part such as {@link Contents#audio(String)}, and its lifetime
   */
  public UploadMediaResponse upload(String model, Upload upload) {
    return upload(model, upload, CallSettings.create());
  }

  /**
   * Uploads a file to DashScope's storage, in chunks.
   *
   * @param model the model that will use the file
   * @param upload the file
   * @param settings options of this call; generation options are not used
   * @return the URI, for a content part such as {@link Contents#audio(String)}, and its lifetime
   */
  public UploadMediaResponse upload(String model, Upload upload, CallSettings settings) {
    return UnaryExchange.await(uploadAsync(model, upload, settings));
  }

  /**
   * Uploads a file to DashScope's storage, asynchronously.
   *
   * @param model the model that will use the file
   * @param upload the file
   * @param settings options of this call; generation options are not used
   * @return the response; cancelling or completing the future cancels the call
   */
  public CompletableFuture<UploadMediaResponse> uploadAsync(
      String model, Upload upload, CallSettings settings) {
    String requestId = requestId(settings);
    Metadata headers = headers(settings, requestId);
    ClientCall<UploadMediaRequest, UploadMediaResponse> call =
        call(MediaServiceGrpc.getUploadMediaMethod(), settings, unaryTimeout());
    return new UploadExchange(call, requestId, running, model, upload).begin(headers);
  }

  /**
   * Returns the models that can be used, in the order of their names.
   *
   * @return the models; each iteration fetches them again
   */
  public Iterable<Model> listModels() {
    return listModels(0, CallSettings.create());
  }

  /**
   * Returns the models that can be used, in the order of their names. A page is fetched when its
   * first model is needed; a failure is thrown there.
   *
   * @param pageSize how many models are fetched at once; 0 is the gateway's page size
   * @param settings options of each call; generation options are not used
   * @return the models; each iteration fetches them again
   */
  public Iterable<Model> listModels(int pageSize, CallSettings settings) {
    ListModelsRequest.Builder request = ListModelsRequest.newBuilder().setPageSize(pageSize);
    return new ModelPages(
        token ->
            query(
                ModelServiceGrpc.getListModelsMethod(),
                request.setPageToken(token).build(),
                settings));
  }

  /**
   * Returns what the gateway knows of a model.
   *
   * @param name the name, as for {@link Conversation}
   * @return the model
   */
  public Model getModel(String name) {
    return getModel(name, CallSettings.create());
  }

  /**
   * Returns what the gateway knows of a model.
   *
   * @param name the name, as for {@link Conversation}
   * @param settings options of this call; generation options are not used
   * @return the model
   */
  public Model getModel(String name, CallSettings settings) {
    GetModelRequest request = GetModelRequest.newBuilder().setName(name).build();
    return query(ModelServiceGrpc.getGetModelMethod(), request, settings).getModel();
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
    String id = requestId(settings);
    return new LiveSession(
        opener(LiveServiceGrpc.getConverseLiveMethod(), settings, id, LiveOpener.first(setup)),
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
    String id = requestId(settings);
    return new SpeechSession(
        opener(LiveServiceGrpc.getSynthesizeLiveMethod(), settings, id, LiveOpener.first(setup)),
        new LiveProgress(id, setup.getResume()));
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
    return runTools(conversation, tools, MAX_ROUNDS, CallSettings.create());
  }

  /**
   * Declares the tools and runs those that the model calls, in order, until it returns an answer
   * without tool calls.
   *
   * @param conversation the messages, the question last; answers and results are appended
   * @param tools the tools that the model may call
   * @param maxRounds the maximum number of rounds of tool calls; then {@code TOOL_ROUNDS} is thrown
   * @param settings options of each call; no request id, because there are several calls
   * @return the last answer, which has no tool calls
   */
  public Answer runTools(
      Conversation conversation, Collection<Tool> tools, int maxRounds, CallSettings settings) {
    return new ToolLoop(this, tools).run(conversation, maxRounds, settings);
  }

  /**
   * Returns the channel with this client's metadata, for the generated stubs, such as {@code
   * ConversationServiceGrpc.newBlockingStub(client.channel())}. Deadlines, idle timeouts and
   * request ids are set by the caller.
   *
   * @return the channel
   */
  public Channel channel() {
    return ClientInterceptors.intercept(
        channel, MetadataUtils.newAttachHeadersInterceptor(headers(CallSettings.create())));
  }

  /**
   * Cancels all calls and closes the connection; a channel passed by the caller stays open. Closing
   * again has no effect. Before, it waits, for at most 2 seconds, until the gateway has ended the
   * calls whose streams were left.
   */
  @Override
  public void close() {
    closed = true;
    running.forEach(exchange -> exchange.cancel("the client was closed"));
    leaving.finish();
    if (owned == null) {
      return;
    }
    owned.shutdownNow();
    try {
      owned.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public String toString() {
    // Metadata may contain secrets, such as the API key.
    return "DashgateClient{" + channel.authority() + ", metadata=" + metadata.keys() + "}";
  }

  private CompletableFuture<ConverseResponse> startConverse(
      Conversation conversation, CallSettings settings) {
    ConverseRequest request = Requests.unary(conversation, settings, requestId(settings));
    ClientCall<ConverseRequest, ConverseResponse> call =
        call(ConversationServiceGrpc.getConverseMethod(), settings, unaryTimeout());
    UnaryExchange<ConverseRequest, ConverseResponse> exchange =
        new UnaryExchange<>(call, request.getRequestId(), running);
    CompletableFuture<ConverseResponse> response = exchange.begin(headers(settings));
    exchange.sendOnly(request);
    return response;
  }

  /** Makes a unary call whose request has no field for the request id. */
  private <Q, A> A query(MethodDescriptor<Q, A> method, Q request, CallSettings settings) {
    String requestId = requestId(settings);
    UnaryExchange<Q, A> exchange =
        new UnaryExchange<>(call(method, settings, unaryTimeout()), requestId, running);
    CompletableFuture<A> response = exchange.begin(headers(settings, requestId));
    exchange.sendOnly(request);
    return UnaryExchange.await(response);
  }

  private <Q, A> LiveOpener<Q, A> opener(
      MethodDescriptor<Q, A> method,
      CallSettings settings,
      String requestId,
      Function<Optional<ResumeSession>, Q> first) {
    Duration limit = limit(settings, timeout);
    Deadline deadline =
        limit == null ? null : Deadline.after(limit.toNanos(), TimeUnit.NANOSECONDS);
    return new LiveOpener<>(
        () -> call(method, LiveOpener.options().withDeadline(deadline)),
        () -> headers(settings, requestId),
        requestId,
        running,
        first);
  }

  private ResumedCall streamCall(CallSettings settings, String requestId) {
    CallOptions options = options(settings, timeout);
    return new ResumedCall(
        new StreamProgress(settings.resume(), settings.requestId() != null),
        () -> call(ConversationServiceGrpc.getConverseStreamMethod(), options),
        () -> leaving.leave(headers(settings), requestId));
  }

  private <Q, A> ClientCall<Q, A> call(
      MethodDescriptor<Q, A> method, CallSettings settings, Duration usual) {
    return call(method, options(settings, usual));
  }

  private static CallOptions options(CallSettings settings, Duration usual) {
    Duration limit = limit(settings, usual);
    CallOptions none = CallOptions.DEFAULT;
    return limit == null ? none : none.withDeadlineAfter(limit.toNanos(), TimeUnit.NANOSECONDS);
  }

  private <Q, A> ClientCall<Q, A> call(MethodDescriptor<Q, A> method, CallOptions options) {
    if (closed) {
      throw new IllegalStateException("the client is closed");
    }
    // Also for a channel passed by the caller, which may have its own limit.
    return channel.newCall(method, options.withMaxInboundMessageSize(MAX_ANSWER_BYTES));
  }

  private static Duration limit(CallSettings settings, Duration usual) {
    return settings.timeout() == null ? usual : settings.timeout();
  }

  /** Null if the channel was passed by the caller. */
  ManagedChannel owned() {
    return owned;
  }

  private Duration unaryTimeout() {
    return timeout == null ? UNARY_TIMEOUT : timeout;
  }

  private Metadata headers(CallSettings settings) {
    Metadata headers = new Metadata();
    headers.merge(metadata);
    Metadata own = settings.metadata();
    // Metadata of the call takes precedence; two keys would be invalid.
    own.keys().forEach(name -> headers.discardAll(ascii(name)));
    headers.merge(own);
    return headers;
  }

  /** Returns the headers of a request without a field for the request id. */
  private Metadata headers(CallSettings settings, String requestId) {
    Metadata headers = headers(settings);
    headers.discardAll(REQUEST_ID);
    headers.put(REQUEST_ID, Checks.printable(requestId, "the request id"));
    return headers;
  }

  private static String requestId(CallSettings settings) {
    return settings.requestId() == null ? UUID.randomUUID().toString() : settings.requestId();
  }

  private static Metadata.Key<String> ascii(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
