package io.dashgate;

import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.GetConversationRequest;
import io.dashgate.v1.MediaServiceGrpc;
import io.dashgate.v1.ResumeSession;
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
import io.grpc.Status;
import io.grpc.stub.MetadataUtils;
import java.time.Clock;
import java.time.Duration;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;

/** The calls of a client: over its channel, with its metadata, deadlines and cancellation. */
final class Calls {
  /** The largest response of the gateway. */
  static final int MAX_ANSWER_BYTES = 64 * 1024 * 1024;

  /** The connection's threads stop immediately, unless the machine is overloaded. */
  private static final long CLOSE_SECONDS = 5;

  private static final String CLOSED = "the client was closed";

  private static final MethodDescriptor<ConverseStreamRequest, ConverseStreamResponse> STREAM =
      ConversationServiceGrpc.getConverseStreamMethod();

  private static final Metadata.Key<String> AUTHORIZATION = ascii("authorization");
  private static final Metadata.Key<String> REQUEST_ID = ascii("x-request-id");

  private final Channel channel;
  /** Null if the channel was passed by the caller, who closes it. */
  private final ConnectionPool owned;

  private final Metadata metadata;
  private final CallDefaults defaults;
  private final RunningCalls running;
  private final Leaving leaving;
  private final Attachments attachments = new Attachments(new FileUploads(Clock.systemUTC()));

  private volatile boolean closed;

  Calls(
      Channel channel,
      ConnectionPool owned,
      Metadata metadata,
      String apiKey,
      CallDefaults defaults,
      CallLog log) {
    this.channel = channel;
    this.running = new RunningCalls(log);
    this.leaving = new Leaving(channel, log);
    this.owned = owned;
    this.metadata = metadata;
    this.defaults = defaults;
    if (apiKey != null) {
      metadata.put(AUTHORIZATION, "Bearer " + apiKey);
    }
  }

  CompletableFuture<Answer> converse(Conversation conversation, CallSettings settings) {
    CallOptions options = options(defaults.unaryTimeout(settings));
    ConverseRequest request = Requests.unary(conversation, settings, requestId(settings));
    return Futures.compose(
        uploaded(request.getConversation(), request.getRequestId(), settings, options),
        sent -> converse(request.toBuilder().setConversation(sent).build(), settings, options));
  }

  private CompletableFuture<Answer> converse(
      ConverseRequest request, CallSettings settings, CallOptions options) {
    MethodDescriptor<ConverseRequest, ConverseResponse> method =
        ConversationServiceGrpc.getConverseMethod();
    CallRecord record = running.record(method, request.getRequestId());
    UnaryExchange<ConverseRequest, ConverseResponse> exchange =
        new UnaryExchange<>(
            throttled(method, options, record, settings, wait -> {}), record);
    CompletableFuture<ConverseResponse> response = exchange.begin(headers(settings));
    exchange.sendOnly(request);
    return Futures.map(response, value -> Answer.of(value, exchange.received()));
  }

  AnswerStream stream(Conversation conversation, CallSettings settings) {
    CallOptions options = options(defaults.streamTimeout(settings));
    ConverseStreamRequest request = Requests.stream(conversation, settings, requestId(settings));
    io.dashgate.v1.Conversation sent =
        UnaryExchange.await(
            uploaded(request.getConversation(), request.getRequestId(), settings, options));
    IdleClock idle = defaults.idleClock();
    CallRecord record = running.record(STREAM, request.getRequestId());
    return AnswerStream.begin(
        streamCall(settings, record, options, idle),
        headers(settings),
        request.toBuilder().setConversation(sent).build(),
        record,
        idle);
  }

  CompletableFuture<Answer> streamAsync(
      Conversation conversation,
      CallSettings settings,
      Consumer<? super ConverseStreamResponse> consumer) {
    CallOptions options = options(defaults.streamTimeout(settings));
    ConverseStreamRequest request = Requests.stream(conversation, settings, requestId(settings));
    return Futures.compose(
        uploaded(request.getConversation(), request.getRequestId(), settings, options),
        sent -> {
          IdleClock idle = defaults.idleClock();
          CallRecord record = running.record(STREAM, request.getRequestId());
          return ObservedStream.begin(
              streamCall(settings, record, options, idle),
              headers(settings),
              request.toBuilder().setConversation(sent).build(),
              record,
              consumer,
              idle);
        });
  }

  /** Uploads the large files of a conversation, within the deadline of its call. */
  private CompletableFuture<io.dashgate.v1.Conversation> uploaded(
      io.dashgate.v1.Conversation conversation,
      String requestId,
      CallSettings settings,
      CallOptions options) {
    CallOptions limited =
        options.getDeadline() == null ? options(defaults.unaryTimeout(settings)) : options;
    Attachments.Gateway gateway =
        new Attachments.Gateway() {
          @Override
          public CompletableFuture<String> model(String name, Consumer<CallRecord> begun) {
            return storedModel(name, own(), limited, begun);
          }

          @Override
          public CompletableFuture<UploadMediaResponse> upload(
              String model, Upload upload, Consumer<CallRecord> begun) {
            return Calls.this.upload(model, upload, own(), limited, begun);
          }

          /** Uploads are calls with their own request ids. */
          private CallSettings own() {
            if (closed) {
              throw DashgateException.own(Status.Code.CANCELLED, "", CLOSED, requestId);
            }
            return settings.requestId(UUID.randomUUID().toString());
          }
        };
    return attachments.sent(conversation, requestId, limited.getDeadline(), gateway);
  }

  /** Uploads are for one model: that of a stored conversation must be known. */
  private CompletableFuture<String> storedModel(
      String name, CallSettings settings, CallOptions options, Consumer<CallRecord> begun) {
    return Futures.map(
        queryAsync(
            ConversationServiceGrpc.getGetConversationMethod(),
            GetConversationRequest.newBuilder().setName(name).build(),
            settings,
            options,
            begun),
        response -> response.getConversation().getModel());
  }

  CompletableFuture<UploadMediaResponse> upload(
      String model, Upload upload, CallSettings settings) {
    return upload(
        model, upload, settings, options(defaults.unaryTimeout(settings)), record -> {});
  }

  private CompletableFuture<UploadMediaResponse> upload(
      String model,
      Upload upload,
      CallSettings settings,
      CallOptions options,
      Consumer<CallRecord> begun) {
    String requestId = requestId(settings);
    Metadata headers = headers(settings, requestId);
    CallRecord record = running.record(MediaServiceGrpc.getUploadMediaMethod(), requestId);
    begun.accept(record);
    return Futures.begin(
        () -> {
          ClientCall<UploadMediaRequest, UploadMediaResponse> call =
              call(MediaServiceGrpc.getUploadMediaMethod(), options, record);
          return new UploadExchange(call, record, model, upload).begin(headers);
        });
  }

  /** Makes a unary call whose request has no field for the request id. */
  <Q, A> CompletableFuture<A> queryAsync(
      MethodDescriptor<Q, A> method, Q request, CallSettings settings) {
    return queryAsync(method, request, settings, true);
  }

  /** Makes such a call; {@code isRepeatable}: a second attempt has no further effect. */
  <Q, A> CompletableFuture<A> queryAsync(
      MethodDescriptor<Q, A> method, Q request, CallSettings settings, boolean isRepeatable) {
    CallOptions options =
        options(defaults.unaryTimeout(settings)).withOption(Retries.ONCE, !isRepeatable);
    return queryAsync(method, request, settings, options, record -> {});
  }

  private <Q, A> CompletableFuture<A> queryAsync(
      MethodDescriptor<Q, A> method,
      Q request,
      CallSettings settings,
      CallOptions options,
      Consumer<CallRecord> begun) {
    String requestId = requestId(settings);
    Metadata headers = headers(settings, requestId);
    CallRecord record = running.record(method, requestId);
    begun.accept(record);
    return Futures.begin(
        () -> {
          UnaryExchange<Q, A> exchange =
              new UnaryExchange<>(call(method, options, record), record);
          CompletableFuture<A> response = exchange.begin(headers);
          exchange.sendOnly(request);
          return response;
        });
  }

  /** Returns what opens the streams of a session, which have one deadline. */
  <Q, A> LiveOpener<Q, A> opener(
      MethodDescriptor<Q, A> method,
      CallSettings settings,
      String requestId,
      Function<Optional<ResumeSession>, Q> first) {
    Duration limit = defaults.streamTimeout(settings);
    Deadline deadline =
        limit == null ? null : Deadline.after(limit.toNanos(), TimeUnit.NANOSECONDS);
    CallRecord record = running.record(method, requestId);
    return new LiveOpener<>(
        () -> call(method, LiveOpener.options().withDeadline(deadline), record),
        () -> headers(settings, requestId),
        record,
        first,
        deadline);
  }

  /** Returns the channel with the client's metadata. */
  Channel channel() {
    return ClientInterceptors.intercept(
        channel, MetadataUtils.newAttachHeadersInterceptor(headers(CallSettings.create())));
  }

  /** Null if the channel was passed by the caller. */
  ManagedChannel owned() {
    return owned == null ? null : owned.first();
  }

  /** Cancels the running calls and closes the channel, unless it was passed by the caller. */
  void close() {
    closed = true;
    if (owned != null) {
      owned.stopWaiting();
    }
    attachments.close(Status.CANCELLED.withDescription(CLOSED));
    running.cancel(CLOSED);
    leaving.finish();
    if (owned == null) {
      return;
    }
    try {
      owned.close(CLOSE_SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public String toString() {
    // Metadata may contain secrets, such as the API key.
    return channel.authority() + ", metadata=" + metadata.keys();
  }

  /** Returns the request id that the caller chose, or a new one. */
  static String requestId(CallSettings settings) {
    String given = givenId(settings);
    return given == null ? UUID.randomUUID().toString() : given;
  }

  /** Returns the request id that the caller chose, also in the metadata; null for none. */
  private static String givenId(CallSettings settings) {
    if (settings.requestId() != null) {
      return settings.requestId();
    }
    String given = settings.metadata().get(REQUEST_ID);
    return given == null || given.isEmpty() ? null : given;
  }

  private ResumedCall streamCall(
      CallSettings settings, CallRecord record, CallOptions limits, IdleClock idle) {
    CallOptions options = limits.withOption(IdleClock.OPTION, idle);
    StreamProgress progress = new StreamProgress(settings.resume(), givenId(settings) != null);
    return new ResumedCall(
        progress,
        // A stream that is resumed has begun: it is not throttled.
        () ->
            progress.resumes() == 0
                ? throttled(STREAM, options, record, settings, idle::pause)
                : call(STREAM, options, record),
        leaving.of(() -> headers(settings), record.requestId()),
        record,
        options.getDeadline());
  }

  private static CallOptions options(Duration limit) {
    CallOptions none = CallOptions.DEFAULT;
    return limit == null ? none : none.withDeadlineAfter(limit.toNanos(), TimeUnit.NANOSECONDS);
  }

  private <Q, A> ClientCall<Q, A> call(
      MethodDescriptor<Q, A> method, CallOptions options, CallRecord record) {
    if (closed) {
      throw new IllegalStateException("the client is closed");
    }
    if (owned == null) {
      // Whether it waits for a connection is not known.
      record.sent();
    }
    // Also for a channel passed by the caller, which may have its own limit.
    return channel.newCall(
        method,
        options
            .withMaxInboundMessageSize(MAX_ANSWER_BYTES)
            .withOption(CallRecord.OPTION, record));
  }

  /** Returns a call that is made again as often as the settings allow if it is throttled. */
  private <Q, A> ClientCall<Q, A> throttled(
      MethodDescriptor<Q, A> method,
      CallOptions options,
      CallRecord record,
      CallSettings settings,
      Consumer<Duration> waiting) {
    int maxRetries = defaults.maxRetries(settings);
    return maxRetries == 0
        ? call(method, options, record)
        : new RetriedCall<>(
            new ThrottleRule(maxRetries, waiting),
            () -> call(method, options, record),
            options.withOption(CallRecord.OPTION, record));
  }

  private Metadata headers(CallSettings settings) {
    Metadata headers = new Metadata();
    headers.merge(metadata);
    Metadata own = settings.metadata();
    // Metadata of the call takes precedence; two keys would be invalid.
    own.keys().forEach(name -> headers.discardAll(ascii(name)));
    headers.merge(own);
    if ("".equals(headers.get(REQUEST_ID))) {
      headers.discardAll(REQUEST_ID);
    }
    return headers;
  }

  /** Returns the headers of a request without a field for the request id. */
  private Metadata headers(CallSettings settings, String requestId) {
    Metadata headers = headers(settings);
    headers.discardAll(REQUEST_ID);
    headers.put(REQUEST_ID, Checks.printable(requestId, "the request id"));
    return headers;
  }

  private static Metadata.Key<String> ascii(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
