package io.dashgate;

import io.dashgate.v1.ResumeSession;
import io.dashgate.v1.SessionEnded;
import io.grpc.Context;
import io.grpc.Status;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;

/**
 * A live session: an iterator of events, and methods that send. Read it in one thread, and send in
 * others, or send and read alternately in one.
 *
 * <p>A method that sends waits while the gateway accepts no more. If the connection breaks, the
 * session is resumed; an event {@code session_started} with {@code resumed} then shows that the
 * input of that moment may be lost. All other errors are final, and thrown to readers and senders
 * as a {@link DashgateException}.
 *
 * @param <Q> the messages
 * @param <A> the events
 */
public abstract class Session<Q, A> implements Iterator<A>, AutoCloseable {
  private final Object monitor = new Object();
  private final Opener<Q, A> opener;
  private final LiveProgress progress;
  /** Streams that are opened later belong to the context of the first one. */
  private final Context context = Context.current();

  private LiveStream<Q, A> stream;
  private A next;
  private DashgateException fault;
  private boolean recovering;
  private boolean over;
  private boolean finished;
  private boolean closed;

  Session(Opener<Q, A> opener, LiveProgress progress) {
    this.opener = opener;
    this.progress = progress;
    synchronized (monitor) {
      this.stream = open();
    }
  }

  /** Opens a stream that continues the session, or starts it. */
  interface Opener<Q, A> {
    LiveStream<Q, A> open(Object monitor, Optional<ResumeSession> resumption, boolean isFinished);

    /** Whether the deadline has passed. */
    boolean isLate();

    /** Returns the delay in milliseconds, or what is left of the deadline if that is less. */
    long inTime(long delay);

    /** Notes that the session is resumed after this error. */
    void resuming(DashgateException broken, long delay);
  }

  /** Records an event. Returns false if it was received on an earlier stream. */
  abstract boolean record(LiveProgress progress, A event);

  /**
   * Returns whether there is another event. Waits for it, or for the end.
   *
   * @return false after the last event of the session
   */
  @Override
  public boolean hasNext() {
    if (next != null) {
      return true;
    }
    next = waiting(this::receive);
    return next != null;
  }

  @Override
  public A next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the session has ended");
    }
    A event = next;
    next = null;
    return event;
  }

  /**
   * Returns the remaining events, for a loop. Leaving the loop does not end the session.
   *
   * @return the events
   */
  public Iterable<A> events() {
    return () -> this;
  }

  /** Ends the input. Running responses complete, then the session ends. Read its events. */
  public void finish() {
    synchronized (monitor) {
      if (finished) {
        return;
      }
      finished = true;
      if (!recovering && stream.isOpen()) {
        stream.call().halfClose();
      }
      monitor.notifyAll();
    }
  }

  /**
   * Leaves the session, from any thread; readers and senders get {@code CANCELLED}. If the session
   * has not ended, the gateway ends it when the time to resume it is over, 30 seconds by default.
   */
  @Override
  public void close() {
    synchronized (monitor) {
      closed = true;
      stream.cancel("the session was closed");
      monitor.notifyAll();
    }
  }

  /**
   * Returns the request id, as in the gateway's log.
   *
   * @return the request id
   */
  public String requestId() {
    return progress.requestId();
  }

  /**
   * Returns the id of the session.
   *
   * @return the id; empty until the first event was read
   */
  public String sessionId() {
    return progress.sessionId();
  }

  /**
   * Returns how often this object has tried to resume the session.
   *
   * @return the number of attempts
   */
  public int resumes() {
    return progress.resumes();
  }

  /**
   * Returns what a setup needs to continue the session elsewhere after the last event. A stream
   * that continues the session ends this one with {@code ABORTED}.
   *
   * @return the field {@code resume}; empty until the first event was read
   */
  public Optional<ResumeSession> resumption() {
    return progress.resumption();
  }

  /**
   * Returns the last event: usage and durations.
   *
   * @return the event; empty until it was read
   */
  public Optional<SessionEnded> ended() {
    return progress.ended();
  }

  final void send(Q message) {
    waiting(
        () -> {
          if (waitUntilReady()) {
            stream.call().sendMessage(message);
          }
          return null;
        });
  }

  private A receive() throws InterruptedException {
    while (true) {
      if (closed) {
        throw left();
      }
      A event = stream.poll();
      if (event != null) {
        if (record(progress, event)) {
          return event;
        }
      } else if (over) {
        return null;
      } else if (!stream.hasEnded() || recovering) {
        monitor.wait();
      } else if (fault != null) {
        throw fault;
      } else if (stream.fault() != null) {
        recover();
      } else {
        complete();
      }
    }
  }

  private void complete() {
    fault = progress.completed();
    over = fault == null;
    monitor.notifyAll();
  }

  /**
   * Waits for the flow control. Returns false if the message is lost: the stream has ended, and its
   * last events, which are to be read first, decide whether the session continues.
   */
  private boolean waitUntilReady() throws InterruptedException {
    while (true) {
      if (closed) {
        throw left();
      }
      if (fault != null) {
        throw fault;
      }
      if (finished) {
        throw new IllegalStateException("nothing can be sent after finish()");
      }
      if (stream.hasEnded() && !recovering) {
        if (stream.hasUnread()) {
          return false;
        }
        if (stream.fault() == null) {
          throw new IllegalStateException("the session has ended");
        }
        recover();
      } else if (!recovering && stream.isOpen() && stream.call().isReady()) {
        return true;
      } else {
        monitor.wait();
      }
    }
  }

  /**
   * Resumes the session, or throws the final error. Events that were not read are received again.
   */
  private void recover() throws InterruptedException {
    long delay;
    try {
      if (opener.isLate()) {
        throw progress.finalError(stream.fault());
      }
      delay = opener.inTime(progress.broken(stream.fault()));
    } catch (DashgateException e) {
      fault = e;
      monitor.notifyAll();
      throw e;
    }
    opener.resuming(stream.fault(), delay);
    recovering = true;
    Context.CancellationListener wake = cancelled -> wakeUp();
    // It is called at once if the context is cancelled now.
    context.addListener(wake, Runnable::run);
    try {
      pause(delay);
      if (!closed) {
        // In a context that is cancelled, the stream fails with the reason.
        stream = open();
      }
    } catch (IllegalStateException e) {
      // Only a closed client refuses to open a stream.
      fault =
          DashgateException.own(
              Status.Code.CANCELLED, "", "the client was closed", requestId());
      throw fault;
    } finally {
      context.removeListener(wake);
      recovering = false;
      monitor.notifyAll();
    }
  }

  private void pause(long delay) throws InterruptedException {
    long until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(delay);
    long left = delay;
    while (left > 0 && !closed && !context.isCancelled()) {
      monitor.wait(left);
      left = TimeUnit.NANOSECONDS.toMillis(until - System.nanoTime());
    }
  }

  private void wakeUp() {
    synchronized (monitor) {
      monitor.notifyAll();
    }
  }

  private LiveStream<Q, A> open() {
    Context before = context.attach();
    try {
      return opener.open(monitor, progress.resumption(), finished);
    } finally {
      context.detach(before);
    }
  }

  /** Runs an action that waits on the monitor. */
  private <T> T waiting(Callable<T> action) {
    try {
      synchronized (monitor) {
        return action.call();
      }
    } catch (InterruptedException e) {
      close();
      Thread.currentThread().interrupt();
      throw DashgateException.own(
          Status.Code.CANCELLED, "", "the thread was interrupted", requestId());
    } catch (DashgateException e) {
      // The stack trace of this thread.
      throw (DashgateException) e.fillInStackTrace();
    } catch (RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  private DashgateException left() {
    return DashgateException.own(
        Status.Code.CANCELLED, "", "the session was closed", requestId());
  }
}
