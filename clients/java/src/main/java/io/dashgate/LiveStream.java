package io.dashgate;

import io.grpc.ClientCall;
import io.grpc.Metadata;
import java.util.ArrayDeque;
import java.util.Queue;

/** One stream of a live session. Its state is guarded by the monitor of the session. */
final class LiveStream<Q, A> extends Exchange<Q, A> {
  /**
   * The maximum number of buffered events, a few seconds of audio. The end of a broken stream is
   * seen behind them: a program that sends and reads alternately must see it too.
   */
  private static final int AHEAD = 64;

  private final Object monitor;
  private final Queue<A> events = new ArrayDeque<>();
  private boolean cancelled;
  private boolean ended;
  /** Why it ended; null if successfully. */
  private DashgateException fault;

  LiveStream(ClientCall<Q, A> call, CallRecord record, Object monitor) {
    super(call, record);
    this.monitor = monitor;
  }

  void begin(Metadata headers, Q first, boolean isFinished) {
    start(headers);
    call().request(AHEAD);
    call().sendMessage(first);
    if (isFinished) {
      call().halfClose();
    }
  }

  /** Returns the next event that was received; null if there is none. */
  A poll() {
    A event = events.poll();
    if (event != null) {
      call().request(1);
    }
    return event;
  }

  boolean hasUnread() {
    return !events.isEmpty();
  }

  /** Whether messages can be sent. A call that was cancelled refuses them before it has ended. */
  boolean isOpen() {
    return !cancelled && !ended;
  }

  boolean hasEnded() {
    return ended;
  }

  DashgateException fault() {
    return fault;
  }

  /** Also called without the monitor, by the client that is closed. */
  @Override
  void cancel(String why) {
    synchronized (monitor) {
      cancelled = true;
      super.cancel(why);
    }
  }

  @Override
  public void onMessage(A event) {
    synchronized (monitor) {
      events.add(event);
      monitor.notifyAll();
    }
  }

  @Override
  public void onReady() {
    synchronized (monitor) {
      monitor.notifyAll();
    }
  }

  /** The session knows, which has the events of all streams. */
  @Override
  DashgateException incomplete() {
    return null;
  }

  @Override
  void ended(DashgateException why) {
    synchronized (monitor) {
      ended = true;
      fault = why;
      monitor.notifyAll();
    }
  }
}
