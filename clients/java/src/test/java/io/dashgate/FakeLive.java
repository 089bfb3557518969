package io.dashgate;

import io.dashgate.v1.ConverseLiveRequest;
import io.dashgate.v1.ConverseLiveResponse;
import io.dashgate.v1.LiveServiceGrpc;
import io.dashgate.v1.ResponseDelta;
import io.dashgate.v1.SessionEnded;
import io.dashgate.v1.SessionStarted;
import io.dashgate.v1.SynthesizeLiveRequest;
import io.dashgate.v1.SynthesizeLiveResponse;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.BiConsumer;

/** Live sessions with scripted events. Each stream plays the next script. */
final class FakeLive extends LiveServiceGrpc.LiveServiceImplBase {
  /** What a script receives when the client has ended its input. */
  static final ConverseLiveRequest HALF_CLOSE = ConverseLiveRequest.getDefaultInstance();

  final Queue<BiConsumer<ConverseLiveRequest, StreamObserver<ConverseLiveResponse>>> scripts =
      new ConcurrentLinkedQueue<>();
  final List<ConverseLiveRequest> received = new CopyOnWriteArrayList<>();
  final List<SynthesizeLiveRequest> spoken = new CopyOnWriteArrayList<>();
  final BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
  /** Whether streams receive the first message only. */
  volatile boolean isStalled;

  @Override
  public StreamObserver<ConverseLiveRequest> converseLive(
      StreamObserver<ConverseLiveResponse> out) {
    ServerCallStreamObserver<ConverseLiveResponse> call =
        (ServerCallStreamObserver<ConverseLiveResponse>) out;
    call.setOnCancelHandler(() -> cancelled.add("live"));
    if (isStalled) {
      call.disableAutoRequest();
      call.request(1);
    }
    BiConsumer<ConverseLiveRequest, StreamObserver<ConverseLiveResponse>> script = scripts.poll();
    return new StreamObserver<>() {
      @Override
      public void onNext(ConverseLiveRequest message) {
        received.add(message);
        script.accept(message, out);
      }

      @Override
      public void onError(Throwable fault) {
        // The handler above reports it.
      }

      @Override
      public void onCompleted() {
        received.add(HALF_CLOSE);
        script.accept(HALF_CLOSE, out);
      }
    };
  }

  /** Returns each text as audio, between two events without audio. */
  @Override
  public StreamObserver<SynthesizeLiveRequest> synthesizeLive(
      StreamObserver<SynthesizeLiveResponse> out) {
    return new StreamObserver<>() {
      private int sequence;

      @Override
      public void onNext(SynthesizeLiveRequest message) {
        spoken.add(message);
        sequence++;
        SynthesizeLiveResponse.Builder event =
            SynthesizeLiveResponse.newBuilder().setSequence(sequence);
        if (message.hasSetup()) {
          event.setSessionStarted(session(false));
        } else {
          event.setResponseDelta(ResponseDelta.newBuilder().setAudio(message.getTextBytes()));
        }
        out.onNext(event.build());
      }

      @Override
      public void onError(Throwable fault) {
        // The client has left.
      }

      @Override
      public void onCompleted() {
        out.onNext(
            SynthesizeLiveResponse.newBuilder()
                .setSequence(sequence + 1)
                .setSessionEnded(SessionEnded.getDefaultInstance())
                .build());
        out.onCompleted();
      }
    };
  }

  /** A script that starts a session, and ends it when the client ends its input. */
  static BiConsumer<ConverseLiveRequest, StreamObserver<ConverseLiveResponse>> untilHalfClose() {
    return untilHalfClose(started(1, false));
  }

  /** The same with this first event. */
  static BiConsumer<ConverseLiveRequest, StreamObserver<ConverseLiveResponse>> untilHalfClose(
      ConverseLiveResponse first) {
    return (message, out) -> {
      if (message.hasSetup()) {
        out.onNext(first);
      } else if (message.equals(HALF_CLOSE)) {
        out.onNext(ended(2));
        out.onCompleted();
      }
    };
  }

  static ConverseLiveResponse started(int sequence, boolean isResumed) {
    return ConverseLiveResponse.newBuilder()
        .setSequence(sequence)
        .setSessionStarted(session(isResumed))
        .build();
  }

  static ConverseLiveResponse text(int sequence, String text) {
    return ConverseLiveResponse.newBuilder()
        .setSequence(sequence)
        .setResponseDelta(ResponseDelta.newBuilder().setText(text))
        .build();
  }

  static ConverseLiveResponse ended(int sequence) {
    return ConverseLiveResponse.newBuilder()
        .setSequence(sequence)
        .setSessionEnded(SessionEnded.newBuilder().setResponses(1))
        .build();
  }

  static SessionStarted session(boolean isResumed) {
    return SessionStarted.newBuilder()
        .setSessionId("session-1")
        .setResumeToken("token-1")
        .setResumed(isResumed)
        .build();
  }
}
