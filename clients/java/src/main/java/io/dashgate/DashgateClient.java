package io.dashgate;

import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.MediaServiceGrpc;
import io.dashgate.v1.UploadMediaRequest;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.stub.MetadataUtils;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * A client of a dashgate gateway. One for a whole program is right: it is safe for all threads, and
 * holds one connection, which is made by the first call.
 *
 * <pre>{@code
 * try (DashgateClient client = DashgateClient.create()) {
 *   Answer answer = client.converse(new Conversation("qwen3.6-plus").user("Hello!"));
 *   System.out.println(answer.text());
 * }
 * }</pre>
 *
 * <p>Every call obeys the current {@link io.grpc.Context}: its deadline, and its cancellation,
 * which reaches the gateway at once. So do an interrupt of a thread that waits, the completion of a
 * future by somebody else, and {@link #close}.
 *
 * <p>A call that fails throws a {@link DashgateException}; a future is completed with one.
 */
public final class DashgateClient implements AutoCloseable {
  /** The most that the gateway makes. */
  static final int MAX_ANSWER_BYTES = 64 * 1024 * 1024;

  /** A model that thinks may need minutes, and no answer needs more. */
  static final Duration UNARY_TIMEOUT = Duration.ofMinutes(10);

  /** Four heartbeats of the gateway. */
  static final Duration IDLE_TIMEOUT = Duration.ofSeconds(60);

  /** How often a tool loop may call tools, where nothing else is said. */
  private static final int MAX_ROUNDS = 8;

  /** The connection's threads stop in no time, unless the machine is overloaded. */
  private static final long CLOSE_SECONDS = 5;

  private static final Metadata.Key<String> AUTHORIZATION = ascii("authorization");
  private static final Metadata.Key<String> REQUEST_ID = ascii("x-request-id");

  private final Channel channel;
  /** Null if the channel is somebody else's to close. */
  private final ManagedChannel owned;

  private final Metadata metadata;
  /** Null if each kind of call has its own. */
  private final Duration timeout;

  private final Duration idleTimeout;
  private final Set<Exchange<?, ?>> running = ConcurrentHashMap.newKeySet();
  private volatile boolean closed;

  DashgateClient(
      Channel channel,
      ManagedChannel owned,
      Metadata metadata,
      String apiKey,
      Duration timeout,
      Duration idleTimeout) {
    this.channel = channel;
    this.owned = owned;
    this.metadata = metadata;
    this.timeout = timeout;
    this.idleTimeout = idleTimeout;
    if (apiKey != null) {
      metadata.put(AUTHORIZATION, "Bearer " + apiKey);
    }
  }

  /**
   * A client with all defaults: the gateway at {@code DASHGATE_ADDR}, or else at {@code
   * 127.0.0.1:50051}, and the key of {@code DASHGATE_API_KEY}, if there is one.
   *
   * @return the client
   */
  public static DashgateClient create() {
    return builder().build();
  }

  /**
   * A client of the gateway at the target, and else with all defaults.
   *
   * @param target see {@link DashgateClientBuilder#target}
   * @return the client
   */
  public static DashgateClient create(String target) {
    return builder().target(target).build();
  }

  /**
   * A client that is told more.
   *
   * @return a builder
   */
  public static DashgateClientBuilder builder() {
    return new DashgateClientBuilder();
  }

  /**
   * Returns the next answer as a whole.
   *
   * @param conversation the messages so far, the question last
   * @return the answer
   */
  public Answer converse(Conversation conversation) {
    return converse(conversation, CallSettings.create());
  }

  /**
   * Returns the next answer as a whole.
   *
   * @param conversation the messages so far, the question last
   * @param settings what this call has of its own
   * @return the answer
   */
  public Answer converse(Conversation conversation, CallSettings settings) {
    return Answer.of(await(startConverse(conversation, settings)));
  }

  /**
   * Returns the next answer as a whole, in a future.
   *
   * @param conversation the messages so far, the question last
   * @return the answer; to cancel it, or to complete it in any way, ends the call
   */
  public CompletableFuture<Answer> converseAsync(Conversation conversation) {
    return converseAsync(conversation, CallSettings.create());
  }

  /**
   * Returns the next answer as a whole, in a future.
   *
   * @param conversation the messages so far, the question last
   * @param settings what this call has of its own
   * @return the answer; to cancel it, or to complete it in any way, ends the call
   */
  public CompletableFuture<Answer> converseAsync(
      Conversation conversation, CallSettings settings) {
    CompletableFuture<ConverseResponse> response = startConverse(conversation, settings);
    CompletableFuture<Answer> answer = new CompletableFuture<>();
    // Not thenApply: it would wrap the exception, and keep a cancellation from the call.
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
   * @param conversation the messages so far, the question last
   * @return the events; to be read to their end or to be closed
   */
  public AnswerStream stream(Conversation conversation) {
    return stream(conversation, CallSettings.create());
  }

  /**
   * Returns the next answer as a stream.
   *
   * @param conversation the messages so far, the question last
   * @param settings what this call has of its own
   * @return the events; to be read to their end or to be closed
   */
  public AnswerStream stream(Conversation conversation, CallSettings settings) {
    return AnswerStream.begin(
        call(ConversationServiceGrpc.getConverseStreamMethod(), settings, timeout),
        headers(settings),
        streamRequest(conversation, settings),
        running,
        idleTimeout);
  }

  /**
   * Returns the next answer as a stream, whose events are passed to a consumer.
   *
   * @param conversation the messages so far, the question last
   * @param consumer gets the events, one after the other, on a thread of the channel's. The next
   *     one is asked for when it returns; what it throws ends the call and completes the future
   * @return the answer that the events add up to; to cancel it, or to complete it in any way, ends
   *     the call
   */
  public CompletableFuture<Answer> streamAsync(
      Conversation conversation, Consumer<? super ConverseStreamResponse> consumer) {
    return streamAsync(conversation, CallSettings.create(), consumer);
  }

  /**
   * Returns the next answer as a stream, whose events are passed to a consumer.
   *
   * @param conversation the messages so far, the question last
   * @param settings what this call has of its own
   * @param consumer gets the events, one after the other, on a thread of the channel's. The next
   *     one is asked for when it returns; what it throws ends the call and completes the future
   * @return the answer that the events add up to; to cancel it, or to complete it in any way, ends
   *     the call
   */
  public CompletableFuture<Answer> streamAsync(
      Conversation conversation,
      CallSettings settings,
      Consumer<? super ConverseStreamResponse> consumer) {
    Objects.requireNonNull(consumer, "consumer");
    return ObservedStream.begin(
        call(ConversationServiceGrpc.getConverseStreamMethod(), settings, timeout),
        headers(settings),
        streamRequest(conversation, settings),
        running,
        consumer,
        idleTimeout);
  }

  /**
   * Puts a file where DashScope's models can reach it. It is sent in pieces, never held whole.
   *
   * @param model the model that will use it
   * @param file the file
   * @return where it is: the URI goes into a content part, such as {@link Contents#audio(String)}
   */
  public UploadMediaResponse upload(String model, Path file) {
    return upload(model, Upload.of(file));
  }

  /**
   * Puts a file where DashScope's models can reach it. It is sent in pieces, never held whole.
   *
   * @param model the model that will use it
   * @param upload the file
   * @return where it is: the URI goes into a content part, such as {@link Contents#audio(String)}
   */
  public UploadMediaResponse upload(String model, Upload upload) {
    return upload(model, upload, CallSettings.create());
  }

  /**
   * Puts a file where DashScope's models can reach it. It is sent in pieces, never held whole.
   *
   * @param model the model that will use it
   * @param upload the file
   * @param settings what this call has of its own; the options are not for uploads
   * @return where it is: the URI goes into a content part, such as {@link Contents#audio(String)}
   */
  public UploadMediaResponse upload(String model, Upload upload, CallSettings settings) {
    return await(uploadAsync(model, upload, settings));
  }

  /**
   * Puts a file where DashScope's models can reach it, later.
   *
   * @param model the model that will use it
   * @param upload the file
   * @param settings what this call has of its own; the options are not for uploads
   * @return where it is; to cancel it, or to complete it in any way, ends the call
   */
  public CompletableFuture<UploadMediaResponse> uploadAsync(
      String model, Upload upload, CallSettings settings) {
    String requestId = requestId(settings);
    Metadata headers = headers(settings);
    // This request has no field for its name.
    headers.discardAll(REQUEST_ID);
    headers.put(REQUEST_ID, Checks.printable(requestId, "the request id"));
    ClientCall<UploadMediaRequest, UploadMediaResponse> call =
        call(MediaServiceGrpc.getUploadMediaMethod(), settings, unaryTimeout());
    return new UploadExchange(call, requestId, running, model, upload).begin(headers);
  }

  /**
   * Lets the model call tools until it has its answer, in at most 8 rounds.
   *
   * @param conversation the messages so far, the question last; answers and results are appended
   * @param tools what the model may call
   * @return the last answer, which asks for nothing more
   */
  public Answer runTools(Conversation conversation, Collection<Tool> tools) {
    return runTools(conversation, tools, MAX_ROUNDS, CallSettings.create());
  }

  /**
   * Lets the model call tools until it has its answer: declares them, asks the model, calls in
   * order what it wants to be called, tells it the results, and asks again.
   *
   * @param conversation the messages so far, the question last; answers and results are appended
   * @param tools what the model may call
   * @param maxRounds how often its tools may be called; then {@code TOOL_ROUNDS} is thrown
   * @param settings what each call has of its own; not a request id, because there are several
   * @return the last answer, which asks for nothing more
   */
  public Answer runTools(
      Conversation conversation, Collection<Tool> tools, int maxRounds, CallSettings settings) {
    return new ToolLoop(this, tools).run(conversation, maxRounds, settings);
  }

  /**
   * The channel with this client's metadata: for the generated stubs, such as {@code
   * ConversationServiceGrpc.newBlockingStub(client.channel())}. Deadlines, idle limits and names of
   * calls are then the caller's own.
   *
   * @return the channel
   */
  public Channel channel() {
    return ClientInterceptors.intercept(
        channel, MetadataUtils.newAttachHeadersInterceptor(headers(CallSettings.create())));
  }

  /**
   * Ends all calls that run, and the connection; a channel that was given stays open. To close
   * again does nothing.
   */
  @Override
  public void close() {
    closed = true;
    running.forEach(exchange -> exchange.cancel("the client was closed"));
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
    // Values of metadata may be secrets: the key is one of them.
    return "DashgateClient{" + channel.authority() + ", metadata=" + metadata.keys() + "}";
  }

  private CompletableFuture<ConverseResponse> startConverse(
      Conversation conversation, CallSettings settings) {
    ConverseRequest.Builder builder =
        ConverseRequest.newBuilder()
            .setConversation(conversation.raw())
            .setRequestId(requestId(settings));
    if (settings.options() != null) {
      builder.setOptions(settings.options());
    }
    ConverseRequest request = builder.build();
    ClientCall<ConverseRequest, ConverseResponse> call =
        call(ConversationServiceGrpc.getConverseMethod(), settings, unaryTimeout());
    UnaryExchange<ConverseRequest, ConverseResponse> exchange =
        new UnaryExchange<>(call, request.getRequestId(), running);
    CompletableFuture<ConverseResponse> response = exchange.begin(headers(settings));
    exchange.sendOnly(request);
    return response;
  }

  private static ConverseStreamRequest streamRequest(
      Conversation conversation, CallSettings settings) {
    ConverseStreamRequest.Builder request =
        ConverseStreamRequest.newBuilder()
            .setConversation(conversation.raw())
            .setRequestId(requestId(settings));
    if (settings.options() != null) {
      request.setOptions(settings.options());
    }
    return request.build();
  }

  private <Q, A> ClientCall<Q, A> call(
      MethodDescriptor<Q, A> method, CallSettings settings, Duration usual) {
    if (closed) {
      throw new IllegalStateException("the client is closed");
    }
    // Also here, for a channel that was given and has a limit of its own.
    CallOptions options = CallOptions.DEFAULT.withMaxInboundMessageSize(MAX_ANSWER_BYTES);
    Duration limit = settings.timeout() == null ? usual : settings.timeout();
    if (limit != null) {
      options = options.withDeadlineAfter(limit.toNanos(), TimeUnit.NANOSECONDS);
    }
    return channel.newCall(method, options);
  }

  /** Null if the channel was given. */
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
    // What the call says holds where the client says something too: two keys would be none.
    own.keys().forEach(name -> headers.discardAll(ascii(name)));
    headers.merge(own);
    return headers;
  }

  private static String requestId(CallSettings settings) {
    return settings.requestId() == null ? UUID.randomUUID().toString() : settings.requestId();
  }

  private static <T> T await(CompletableFuture<T> future) {
    try {
      return future.get();
    } catch (InterruptedException e) {
      future.cancel(false);
      Thread.currentThread().interrupt();
      throw DashgateException.own(Status.Code.CANCELLED, "", "the thread was interrupted", "");
    } catch (ExecutionException e) {
      Throwable cause = e.getCause();
      if (cause instanceof DashgateException) {
        // Of use is the place that waits, not the thread of the network.
        throw (DashgateException) cause.fillInStackTrace();
      }
      if (cause instanceof RuntimeException) {
        throw (RuntimeException) cause;
      }
      throw new IllegalStateException(cause);
    }
  }

  private static Metadata.Key<String> ascii(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
