package io.dashgate;

import io.dashgate.v1.ConverseStreamRequest;
import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.Iterator;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * A streamed answer. It is read once, by one thread, as events or as texts, to its end; closing it
 * early cancels the call. Any thread may close it.
 *
 * <pre>{@code
 * try (AnswerStream stream = client.stream(conversation)) {
 *   for (String text : stream.textDeltas()) {
 *     System.out.print(text);
 *   }
 *   Answer answer = stream.finalAnswer();
 * }
 * }</pre>
 *
 * <p>Every method that waits for an event throws a {@link DashgateException} if the call failed:
 * {@code STREAM_IDLE} if nothing was received for the client's idle timeout, {@code
 * STREAM_TRUNCATED} if the stream ended without its last event. Interrupting the thread also
 * cancels the call.
 */
public final class AnswerStream implements Iterator<ConverseStreamResponse>, AutoCloseable {
  /**
   * The maximum number of buffered events: enough that reader and network do not wait for each
   * other; few, because one event may be as large as a message.
   */
  private static final int AHEAD = 4;

  private final Events events;
  private final IdleClock idle;
  private final AnswerFold fold = new AnswerFold();
  private ConverseStreamResponse next;
  private boolean ended;
  private DashgateException fault;

  private AnswerStream(Events events, IdleClock idle) {
    this.events = events;
    this.idle = idle;
  }

  static AnswerStream begin(
      ClientCall<ConverseStreamRequest, ConverseStreamResponse> call,
      Metadata headers,
      ConverseStreamRequest request,
      CallRecord record,
      IdleClock idle) {
    Events events = new Events(call, record);
    events.start(headers);
    call.request(AHEAD);
    events.sendOnly(request);
    return new AnswerStream(events, idle);
  }

  /**
   * Returns whether there is another event. Waits for it, or for the end.
   *
   * @return false after the last event of a complete answer
   */
  @Override
  public boolean hasNext() {
    if (next != null) {
      return true;
    }
    if (!ended) {
      receive();
    }
    if (fault != null) {
      throw fault;
    }
    return next != null;
  }

  @Override
  public ConverseStreamResponse next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the answer is complete");
    }
    ConverseStreamResponse event = next;
    next = null;
    return event;
  }

  /**
   * Returns the remaining events, for a loop.
   *
   * @return the events; may be iterated once
   */
  public Iterable<ConverseStreamResponse> events() {
    return () -> this;
  }

  /**
   * Returns the remaining text deltas of the first choice, without empty ones, for a loop.
   *
   * @return the texts; may be iterated once
   */
  public Iterable<String> textDeltas() {
    return () -> new TextDeltas(this);
  }

  /**
   * Reads the remaining events and returns the complete answer.
   *
   * @return the answer
   */
  public Answer finalAnswer() {
    while (hasNext()) {
      next();
    }
    return fold.answer(events.received());
  }

  /**
   * Returns the answer so far, for the thread that reads: also after an error, and after the stream
   * was closed. A choice that has not ended has no finish reason.
   *
   * @return the answer from the events that were received; empty before the first one that is no
   *     heartbeat
   */
  public Optional<Answer> partial() {
    return fold.isEmpty() ? Optional.empty() : Optional.of(fold.answer(events.received()));
  }

  /**
   * Returns the metadata of the response: the initial metadata and, after the last event, the
   * trailers.
   *
   * @return the texts by their names in lower case; binary metadata is left out. Empty before the
   *     first event
   */
  public Map<String, String> headers() {
    return events.received().asMap();
  }

  /**
   * Returns the request id, as in the gateway's log.
   *
   * @return the request id
   */
  public String requestId() {
    return events.requestId();
  }

  /**
   * Returns how often this stream was tried to be resumed.
   *
   * @return the number of attempts
   */
  public int resumes() {
    return events.resumes();
  }

  /** Cancels the call if it has not ended; readers get {@code CANCELLED}. */
  @Override
  public void close() {
    events.cancel("the stream was closed");
  }

  private void receive() {
    Object item;
    try {
      item = poll();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      end(events.fail(Status.Code.CANCELLED, "", "the thread was interrupted"));
      return;
    }
    if (item == null) {
      end(StreamRules.idle(events, idle.limit()));
    } else if (item instanceof End) {
      end(((End) item).fault);
    } else {
      events.call().request(1);
      next = (ConverseStreamResponse) item;
      fold.add(next);
    }
  }

  /** Returns null if the stream is idle for too long. */
  private Object poll() throws InterruptedException {
    long since = idle.now();
    Object item = null;
    for (long left = idle.left(since); item == null && left > 0; left = idle.left(since)) {
      item = events.queue.poll(left, TimeUnit.NANOSECONDS);
    }
    return item;
  }

  private void end(DashgateException why) {
    ended = true;
    fault = why;
    if (why != null) {
      why.received(fold, events.received());
      // The stack trace of the reading thread, not that of the network thread.
      why.fillInStackTrace();
    }
  }

  /** Receives events and queues them for the reader. */
  private static final class Events
      extends Exchange<ConverseStreamRequest, ConverseStreamResponse> {
    /** Holds at most {@code AHEAD} events and the end: no more are requested. */
    final BlockingQueue<Object> queue = new LinkedBlockingQueue<>();

    private volatile boolean isComplete;

    Events(
        ClientCall<ConverseStreamRequest, ConverseStreamResponse> call,
        CallRecord record) {
      super(call, record);
    }

    int resumes() {
      return call() instanceof ResumedCall ? ((ResumedCall) call()).resumes() : 0;
    }

    @Override
    public void onMessage(ConverseStreamResponse event) {
      isComplete |= event.hasCompleted();
      queue.add(event);
    }

    @Override
    DashgateException incomplete() {
      return isComplete ? null : StreamRules.truncated(requestId());
    }

    @Override
    void ended(DashgateException fault) {
      queue.add(new End(fault));
    }
  }

  /** The last item of the queue. */
  private static final class End {
    final DashgateException fault;

    End(DashgateException fault) {
      this.fault = fault;
    }
  }
}
