package io.dashgate;

import io.dashgate.v1.ResumeSession;
import io.dashgate.v1.SessionEnded;
import io.dashgate.v1.SessionStarted;
import io.dashgate.v1.Usage;
import io.grpc.Status;
import java.util.Optional;

/** The position in a live session, and when a session whose stream broke is resumed. */
final class LiveProgress {
  private final String requestId;
  private String sessionId;
  private String token;
  private int sequence;
  private SessionEnded ended;
  private boolean hasOutput;
  private int attempts;
  private int resumes;
  /** The error of the stream that broke, until its session has continued. */
  private DashgateException fault;

  LiveProgress(String requestId, ResumeSession resumed) {
    this.requestId = requestId;
    this.sessionId = resumed.getSessionId();
    this.token = resumed.getToken();
    this.sequence = resumed.getLastSequence();
  }

  String requestId() {
    return requestId;
  }

  synchronized String sessionId() {
    return sessionId;
  }

  synchronized int resumes() {
    return resumes;
  }

  synchronized Optional<SessionEnded> ended() {
    return Optional.ofNullable(ended);
  }

  /** Returns what another stream needs to continue; empty before the session has started. */
  synchronized Optional<ResumeSession> resumption() {
    if (token.isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        ResumeSession.newBuilder()
            .setSessionId(sessionId)
            .setToken(token)
            .setLastSequence(sequence)
            .build());
  }

  /** Records the first event of a stream. */
  synchronized void started(int number, SessionStarted started) {
    if (!started.getSessionId().isEmpty()) {
      sessionId = started.getSessionId();
    }
    if (!started.getResumeToken().isEmpty()) {
      token = started.getResumeToken();
    }
    // A resumed stream starts with the number of the last event that was received.
    sequence = Math.max(sequence, number);
  }

  /** Records any other event. Returns false if it was received on an earlier stream. */
  synchronized boolean received(int number, boolean isOutput, SessionEnded end) {
    attempts = 0;
    fault = null;
    hasOutput |= isOutput;
    if (number != 0 && number <= sequence) {
      return false;
    }
    sequence = number;
    ended = end == null ? ended : end;
    return true;
  }

  /** Returns the error of a stream that ended well; null if the session did, too. */
  synchronized DashgateException completed() {
    if (ended != null) {
      return null;
    }
    return finalError(
        DashgateException.own(
            Status.Code.INTERNAL,
            "STREAM_TRUNCATED",
            "the stream ended before the session",
            requestId));
  }

  /** Returns the milliseconds until the session is resumed, or throws the final error. */
  synchronized long broken(DashgateException error) {
    if (!isResumable(error)) {
      throw finalError(error);
    }
    if (attempts == ResumeBackoff.ATTEMPTS) {
      // The error of the stream that broke has the cause and the usage; those of the attempts have
      // neither.
      throw finalError(fault);
    }
    fault = fault == null ? error : fault;
    long delay = ResumeBackoff.delayMillis(attempts, error);
    attempts++;
    resumes++;
    return delay;
  }

  /** Internal errors without a reason are those of gRPC libraries and proxies. */
  private boolean isResumable(DashgateException error) {
    boolean isBroken = error.code() == Status.Code.UNAVAILABLE;
    if (error.code() == Status.Code.INTERNAL || error.code() == Status.Code.UNKNOWN) {
      isBroken = error.rawReason().isEmpty();
    }
    return isBroken && !token.isEmpty() && ended == null;
  }

  synchronized DashgateException finalError(DashgateException error) {
    if (hasOutput) {
      error.outputHasStarted();
    }
    Optional<Usage> earlier = fault == null ? Optional.empty() : fault.usage();
    earlier.ifPresent(error::usageBefore);
    return error;
  }
}
