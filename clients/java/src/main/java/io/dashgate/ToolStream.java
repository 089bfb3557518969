package io.dashgate;

import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.Status;
import java.util.Iterator;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * A tool loop with streams: the events of all rounds in order. Functions run when the events of
 * their round are read. Otherwise it is as {@link AnswerStream}.
 *
 * <pre>{@code
 * try (ToolStream stream = client.streamTools(conversation, tools)) {
 *   for (String text : stream.textDeltas()) {
 *     System.out.print(text);
 *   }
 *   Answer answer = stream.finalAnswer();
 * }
 * }</pre>
 */
public final class ToolStream implements Iterator<ConverseStreamResponse>, AutoCloseable {
  private final ToolLoop loop;
  private final Supplier<AnswerStream> calls;
  /** The stream of the current round. */
  private volatile AnswerStream round;

  private volatile boolean closed;
  private boolean ended;
  /** The exception of a function, or of the loop. */
  private Throwable fault;

  /** Begins the loop: {@code calls} begins the call of each round. */
  ToolStream(ToolLoop loop, Supplier<AnswerStream> calls) {
    this.loop = loop;
    this.calls = calls;
    this.round = calls.get();
  }

  /**
   * Returns whether there is another event. Waits for it, and runs functions between the rounds.
   *
   * @return false after the last event of the last round
   */
  @Override
  public boolean hasNext() {
    rethrow();
    while (!ended && !round.hasNext()) {
      try {
        ended = !loop.proceed(round.finalAnswer());
        if (!ended) {
          begin();
        }
      } catch (Throwable e) {
        fault = e;
        throw Throwables.raise(e);
      }
    }
    return !ended;
  }

  @Override
  public ConverseStreamResponse next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the answer is complete");
    }
    return round.next();
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
   * Returns the remaining text deltas of the first choice in all rounds, without empty ones, for a
   * loop.
   *
   * @return the texts; may be iterated once
   */
  public Iterable<String> textDeltas() {
    return () -> new TextDeltas(this);
  }

  /**
   * Reads the remaining events and returns the last answer, which has no tool calls.
   *
   * @return the answer
   */
  public Answer finalAnswer() {
    while (hasNext()) {
      next();
    }
    return round.finalAnswer();
  }

  /**
   * Returns the answer of the current round so far, as {@link AnswerStream#partial}.
   *
   * @return the answer; empty before the first event that is no heartbeat
   */
  public Optional<Answer> partial() {
    return round.partial();
  }

  /**
   * Returns the metadata of the response of the current round, as {@link AnswerStream#headers}.
   *
   * @return the texts by their names in lower case
   */
  public Map<String, String> headers() {
    return round.headers();
  }

  /**
   * Returns the request id of the current round.
   *
   * @return the request id
   */
  public String requestId() {
    return round.requestId();
  }

  /**
   * Cancels the call of the current round if it has not ended; readers get {@code CANCELLED}. If
   * functions run, no other one begins, and all calls have a result.
   */
  @Override
  public void close() {
    closed = true;
    round.close();
    loop.leave();
  }

  private void begin() {
    if (closed) {
      throw left();
    }
    round = calls.get();
    if (closed) {
      // It was closed while the call began.
      round.close();
    }
  }

  private DashgateException left() {
    return DashgateException.own(
        Status.Code.CANCELLED, "", "the stream was closed", round.requestId());
  }

  private void rethrow() {
    if (fault != null) {
      throw Throwables.raise(fault);
    }
  }
}
