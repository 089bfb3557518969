package io.dashgate;

import com.google.protobuf.Timestamp;
import io.dashgate.v1.CallServiceGrpc;
import io.dashgate.v1.CancelCallRequest;
import io.dashgate.v1.CancelCallResponse;
import io.dashgate.v1.Completed;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.GetModelRequest;
import io.dashgate.v1.GetModelResponse;
import io.dashgate.v1.ListModelsRequest;
import io.dashgate.v1.ListModelsResponse;
import io.dashgate.v1.MediaServiceGrpc;
import io.dashgate.v1.Model;
import io.dashgate.v1.ModelServiceGrpc;
import io.dashgate.v1.Started;
import io.dashgate.v1.UploadMediaRequest;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerCredentials;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/** A server on a real socket with scripted answers. */
final class FakeGateway implements AutoCloseable {
  static final long WAIT_SECONDS = 20;

  final List<Metadata> headers = new CopyOnWriteArrayList<>();
  final List<ConverseRequest> requests = new CopyOnWriteArrayList<>();
  final List<ConverseStreamRequest> streamRequests = new CopyOnWriteArrayList<>();
  final List<UploadMediaRequest> uploaded = new CopyOnWriteArrayList<>();
  final List<Optional<Deadline>> deadlines = new CopyOnWriteArrayList<>();
  final BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
  /** The request ids of CancelCall. */
  final BlockingQueue<String> cancelCalls = new LinkedBlockingQueue<>();
  final FakeLive live = new FakeLive();

  volatile BiConsumer<ConverseRequest, StreamObserver<ConverseResponse>> converse =
      (request, out) -> {
        out.onNext(ConverseResponse.newBuilder().setRequestId(request.getRequestId()).build());
        out.onCompleted();
      };
  volatile BiConsumer<ConverseStreamRequest, StreamObserver<ConverseStreamResponse>> stream =
      (request, out) -> {
        out.onNext(started());
        out.onNext(text("Hello"));
        out.onNext(completed());
        out.onCompleted();
      };

  volatile Consumer<StreamObserver<UploadMediaResponse>> upload =
      out -> {
        Timestamp tomorrow =
            Timestamp.newBuilder()
                .setSeconds(Instant.now().plus(Duration.ofDays(1)).getEpochSecond())
                .build();
        out.onNext(
            UploadMediaResponse.newBuilder()
                .setUri("oss://somewhere")
                .setExpiresAt(tomorrow)
                .build());
        out.onCompleted();
      };

  final FakeStore store = new Conversations();

  private final Server server;

  FakeGateway() throws IOException {
    this(InsecureServerCredentials.create());
  }

  FakeGateway(ServerCredentials credentials) throws IOException {
    this(credentials, Integer.MAX_VALUE);
  }

  /** A server that takes so many calls at once on a connection. */
  static FakeGateway limited(int calls) throws IOException {
    return new FakeGateway(InsecureServerCredentials.create(), calls);
  }

  private FakeGateway(ServerCredentials credentials, int calls) throws IOException {
    server =
        NettyServerBuilder.forPort(0, credentials)
            .maxConcurrentCallsPerConnection(calls)
            .addService(store)
            .addService(new Media())
            .addService(new Cancellations())
            .addService(live)
            .addService(new Models())
            .intercept(new Recorder())
            .maxInboundMessageSize(Calls.MAX_ANSWER_BYTES)
            .build()
            .start();
  }

  String target() {
    return "localhost:" + server.getPort();
  }

  /** A client without settings of the environment. */
  DashgateClientBuilder client() {
    return DashgateClient.builder().environment(java.util.Map.of()).target(target());
  }

  /** Returns the request id of the next cancelled call. */
  String awaitCancelled() throws InterruptedException {
    return cancelled.poll(WAIT_SECONDS, TimeUnit.SECONDS);
  }

  static ConverseStreamResponse started() {
    return ConverseStreamResponse.newBuilder().setStarted(Started.newBuilder()).build();
  }

  static ConverseStreamResponse text(String text) {
    return ConverseStreamResponse.newBuilder()
        .setDelta(Delta.newBuilder().setText(text))
        .build();
  }

  static ConverseStreamResponse completed() {
    return ConverseStreamResponse.newBuilder().setCompleted(Completed.newBuilder()).build();
  }

  /** An error with a pushback, which is the time before a retry. */
  static Exception pushedBack(Status status, String pushback) {
    Metadata trailers = new Metadata();
    trailers.put(key("grpc-retry-pushback-ms"), pushback);
    return status.asException(trailers);
  }

  static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  private final class Conversations extends FakeStore {
    @Override
    public void converse(ConverseRequest request, StreamObserver<ConverseResponse> out) {
      requests.add(request);
      watch(request.getRequestId(), out);
      converse.accept(request, out);
    }

    @Override
    public void converseStream(
        ConverseStreamRequest request, StreamObserver<ConverseStreamResponse> out) {
      streamRequests.add(request);
      watch(request.getRequestId(), out);
      stream.accept(request, out);
    }

    private void watch(String name, StreamObserver<?> out) {
      ((ServerCallStreamObserver<?>) out).setOnCancelHandler(() -> cancelled.add(name));
    }
  }

  private final class Cancellations extends CallServiceGrpc.CallServiceImplBase {
    @Override
    public void cancelCall(CancelCallRequest request, StreamObserver<CancelCallResponse> out) {
      cancelCalls.add(request.getRequestId());
      out.onNext(CancelCallResponse.getDefaultInstance());
      out.onCompleted();
    }
  }

  /** Two models, in pages of one. */
  private static final class Models extends ModelServiceGrpc.ModelServiceImplBase {
    @Override
    public void listModels(ListModelsRequest request, StreamObserver<ListModelsResponse> out) {
      boolean isLast = !request.getPageToken().isEmpty();
      out.onNext(
          ListModelsResponse.newBuilder()
              .addModels(Model.newBuilder().setName(isLast ? "b" : "a"))
              .setNextPageToken(isLast ? "" : "second")
              .build());
      out.onCompleted();
    }

    @Override
    public void getModel(GetModelRequest request, StreamObserver<GetModelResponse> out) {
      Model model = Model.newBuilder().setName(request.getName()).build();
      out.onNext(GetModelResponse.newBuilder().setModel(model).build());
      out.onCompleted();
    }
  }

  private final class Media extends MediaServiceGrpc.MediaServiceImplBase {
    @Override
    public StreamObserver<UploadMediaRequest> uploadMedia(
        StreamObserver<UploadMediaResponse> out) {
      ((ServerCallStreamObserver<?>) out).setOnCancelHandler(() -> cancelled.add("upload"));
      return new StreamObserver<>() {
        @Override
        public void onNext(UploadMediaRequest message) {
          uploaded.add(message);
        }

        @Override
        public void onError(Throwable fault) {
          // The handler above reports it.
        }

        @Override
        public void onCompleted() {
          upload.accept(out);
        }
      };
    }
  }

  private final class Recorder implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata metadata, ServerCallHandler<Q, A> next) {
      headers.add(metadata);
      deadlines.add(Optional.ofNullable(Context.current().getDeadline()));
      return next.startCall(
          new SimpleForwardingServerCall<>(call) {
            @Override
            public void sendHeaders(Metadata sent) {
              sent.put(key("x-initial"), "first");
              super.sendHeaders(sent);
            }

            @Override
            public void close(Status status, Metadata trailers) {
              trailers.put(key("x-trailer"), "last");
              super.close(status, trailers);
            }
          },
          metadata);
    }
  }
}
