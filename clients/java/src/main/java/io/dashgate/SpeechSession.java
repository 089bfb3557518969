package io.dashgate;

import com.google.protobuf.ByteString;
import io.dashgate.v1.ClearText;
import io.dashgate.v1.CommitText;
import io.dashgate.v1.SynthesizeLiveRequest;
import io.dashgate.v1.SynthesizeLiveResponse;
import java.util.Iterator;
import java.util.NoSuchElementException;

/**
 * Text that is spoken while it is written.
 *
 * <pre>{@code
 * try (SpeechSession session = client.speak(setup)) {
 *   session.sendText("Good morning.");
 *   session.finish();
 *   for (ByteString audio : session.audio()) {
 *     audio.writeTo(output);
 *   }
 * }
 * }</pre>
 */
public final class SpeechSession extends Session<SynthesizeLiveRequest, SynthesizeLiveResponse> {
  SpeechSession(
      Opener<SynthesizeLiveRequest, SynthesizeLiveResponse> opener, LiveProgress progress) {
    super(opener, progress);
  }

  /**
   * Sends the next piece of the text.
   *
   * @param text the text
   */
  public void sendText(String text) {
    send(SynthesizeLiveRequest.newBuilder().setText(text).build());
  }

  /** Speaks the text so far. Required with {@code SYNTHESIS_MODE_COMMIT}. */
  public void commit() {
    CommitText commit = CommitText.getDefaultInstance();
    send(SynthesizeLiveRequest.newBuilder().setCommit(commit).build());
  }

  /** Discards text that is not spoken yet. */
  public void clear() {
    ClearText clear = ClearText.getDefaultInstance();
    send(SynthesizeLiveRequest.newBuilder().setClear(clear).build());
  }

  /**
   * Returns the audio of the remaining events, for a loop.
   *
   * @return the pieces
   */
  public Iterable<ByteString> audio() {
    return () -> new Audio(this);
  }

  @Override
  boolean record(LiveProgress progress, SynthesizeLiveResponse event) {
    if (event.hasSessionStarted()) {
      progress.started(event.getSequence(), event.getSessionStarted());
      return true;
    }
    return progress.received(
        event.getSequence(),
        event.hasResponseDelta(),
        event.hasSessionEnded() ? event.getSessionEnded() : null);
  }

  /** The audio of the events. */
  private static final class Audio implements Iterator<ByteString> {
    private final SpeechSession session;
    private ByteString next = ByteString.EMPTY;

    Audio(SpeechSession session) {
      this.session = session;
    }

    @Override
    public boolean hasNext() {
      while (next.isEmpty() && session.hasNext()) {
        next = session.next().getResponseDelta().getAudio();
      }
      return !next.isEmpty();
    }

    @Override
    public ByteString next() {
      if (!hasNext()) {
        throw new NoSuchElementException("the session has ended");
      }
      ByteString audio = next;
      next = ByteString.EMPTY;
      return audio;
    }
  }
}
