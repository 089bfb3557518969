package io.dashgate;

import io.dashgate.v1.ConverseLiveRequest;
import io.dashgate.v1.LiveSetup;
import io.dashgate.v1.ResumeSession;
import io.dashgate.v1.SynthesisSetup;
import io.dashgate.v1.SynthesizeLiveRequest;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Deadline;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.Supplier;

/** Opens the streams of a live session. */
final class LiveOpener<Q, A> implements Session.Opener<Q, A> {
  /** At most one message waits in the client, so that a sender waits as long as the gateway. */
  static final int READY_BYTES = 1;

  private final Supplier<ClientCall<Q, A>> calls;
  private final Supplier<Metadata> headers;
  private final CallRecord record;
  private final Function<Optional<ResumeSession>, Q> first;
  /** Null for none. */
  private final Deadline deadline;

  LiveOpener(
      Supplier<ClientCall<Q, A>> calls,
      Supplier<Metadata> headers,
      CallRecord record,
      Function<Optional<ResumeSession>, Q> first,
      Deadline deadline) {
    this.calls = calls;
    this.headers = headers;
    this.record = record;
    this.first = first;
    this.deadline = deadline;
  }

  @Override
  public LiveStream<Q, A> open(
      Object monitor, Optional<ResumeSession> resumption, boolean isFinished) {
    LiveStream<Q, A> stream = new LiveStream<>(calls.get(), record, monitor);
    stream.begin(headers.get(), first.apply(resumption), isFinished);
    return stream;
  }

  @Override
  public boolean isLate() {
    return deadline != null && deadline.isExpired();
  }

  @Override
  public long inTime(long delay) {
    return ResumeBackoff.inTime(delay, deadline);
  }

  @Override
  public void resuming(DashgateException broken, long delay) {
    record.resuming(broken.code(), Duration.ofMillis(delay));
  }

  static CallOptions options() {
    return CallOptions.DEFAULT.withOnReadyThreshold(READY_BYTES);
  }

  static Function<Optional<ResumeSession>, ConverseLiveRequest> first(LiveSetup setup) {
    return resumption -> {
      LiveSetup sent =
          resumption.map(it -> LiveSetup.newBuilder().setResume(it).build()).orElse(setup);
      return ConverseLiveRequest.newBuilder().setSetup(sent).build();
    };
  }

  static Function<Optional<ResumeSession>, SynthesizeLiveRequest> first(SynthesisSetup setup) {
    return resumption -> {
      SynthesisSetup sent =
          resumption.map(it -> SynthesisSetup.newBuilder().setResume(it).build()).orElse(setup);
      return SynthesizeLiveRequest.newBuilder().setSetup(sent).build();
    };
  }
}
