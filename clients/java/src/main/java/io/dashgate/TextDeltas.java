package io.dashgate;

import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import java.util.Iterator;
import java.util.NoSuchElementException;

/** The text deltas of the first choice of events, without empty ones. */
final class TextDeltas implements Iterator<String> {
  private final Iterator<ConverseStreamResponse> events;
  private String next = "";

  TextDeltas(Iterator<ConverseStreamResponse> events) {
    this.events = events;
  }

  @Override
  public boolean hasNext() {
    while (next.isEmpty() && events.hasNext()) {
      Delta delta = events.next().getDelta();
      if (delta.getChoiceIndex() == 0) {
        next = delta.getText();
      }
    }
    return !next.isEmpty();
  }

  @Override
  public String next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the answer is complete");
    }
    String text = next;
    next = "";
    return text;
  }
}
