package io.dashgate;

import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.Set;

/** The last event of a stream, and when a stream whose connection is lost is resumed. */
final class StreamProgress {
  /** Instead of a delay: the answer is complete. */
  static final long COMPLETE = -1;
  /** Instead of a delay: the error is final. */
  static final long FINAL = -2;
  /** Instead of a delay: the error that broke the stream is final. */
  static final long FIRST = -3;

  /** Codes that gRPC libraries and proxies create for a lost connection. */
  private static final Set<Status.Code> LOST =
      Set.of(Status.Code.UNAVAILABLE, Status.Code.INTERNAL, Status.Code.UNKNOWN);
  /** With these reasons, the call may go on at another replica. All others are final. */
  private static final Set<String> ELSEWHERE = Set.of("SHUTTING_DOWN", "STORE_DOWN");
  /** The gateway does not have the call any more: what broke the stream is the cause. */
  private static final Set<Status.Code> GONE =
      Set.of(Status.Code.OUT_OF_RANGE, Status.Code.NOT_FOUND, Status.Code.UNIMPLEMENTED);

  private static final Metadata.Key<String> RESUMABLE =
      Metadata.Key.of("dashgate-resumable", Metadata.ASCII_STRING_MARSHALLER);

  private final boolean wanted;
  private final boolean named;
  private boolean started;
  /** Whether the gateway resumes the stream. */
  private boolean possible;
  private boolean complete;
  private int sequence;
  private int attempts;
  private int resumes;

  /** What an event is. */
  enum Received {
    NEW,
    /** It was received on an earlier connection. */
    KNOWN,
    /** It is not the next one: the stream fails with the error that broke it. */
    LATER
  }

  /** The state of a new stream; {@code named}: the caller chose the request id. */
  StreamProgress(boolean wanted, boolean named) {
    this.wanted = wanted;
    this.named = named;
  }

  synchronized int sequence() {
    return sequence;
  }

  synchronized int resumes() {
    return resumes;
  }

  /** Whether an error would be the second one without an event in between. */
  synchronized boolean isResuming() {
    return attempts > 0;
  }

  /** Notes the headers of a response, which precede {@code Started}. */
  synchronized void announced(Metadata headers) {
    if (wanted && !started && isAnnounced(headers)) {
      possible = true;
    }
  }

  /** Whether the stream of a response with these headers can be resumed. */
  static boolean isAnnounced(Metadata headers) {
    return "true".equals(headers.get(RESUMABLE));
  }

  /** Notes an event. */
  synchronized Received received(ConverseStreamResponse event) {
    int number = event.getSequence();
    // A heartbeat has the number of the event before it.
    boolean counts = !event.hasHeartbeat();
    if (resumes > 0 && counts && number > sequence + 1) {
      possible = false;
      return Received.LATER;
    }
    attempts = 0;
    if (event.hasStarted() && !started) {
      started = true;
      possible = wanted && event.getStarted().getResumable();
    }
    if (!counts) {
      return Received.NEW;
    }
    if (resumes > 0 && number <= sequence) {
      return Received.KNOWN;
    }
    sequence = number;
    complete |= event.hasCompleted();
    return Received.NEW;
  }

  /** Returns the milliseconds until the stream is resumed, or one of the constants. */
  synchronized long failed(DashgateException error) {
    boolean lost =
        error.rawReason().isEmpty()
            ? LOST.contains(error.code())
            : ELSEWHERE.contains(error.rawReason());
    if (!possible || (!lost && attempts == 0)) {
      return FINAL;
    }
    if (!lost) {
      return GONE.contains(error.code()) ? FIRST : FINAL;
    }
    if (complete) {
      return COMPLETE;
    }
    if (attempts == ResumeBackoff.ATTEMPTS) {
      return FIRST;
    }
    long delay = ResumeBackoff.delayMillis(attempts, error);
    attempts++;
    resumes++;
    return delay;
  }

  /** Whether the gateway still waits for a stream that was left, or whose deadline has passed. */
  synchronized boolean mustLeave(boolean late) {
    boolean waits = wanted && !complete && (possible || !started);
    // A caller that chose the request id can fetch the answer after the deadline.
    return waits && !(late && named);
  }
}
