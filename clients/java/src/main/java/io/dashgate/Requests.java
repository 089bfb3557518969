package io.dashgate;

import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseStreamRequest;
import java.util.OptionalInt;

/** The requests of conversations. */
final class Requests {
  private Requests() {}

  static ConverseRequest unary(
      Conversation conversation, CallSettings settings, String requestId) {
    ConverseRequest.Builder request =
        ConverseRequest.newBuilder()
            .setConversation(conversation.raw())
            .setRequestId(requestId);
    if (settings.options() != null) {
      request.setOptions(settings.options());
    }
    expectedTurn(conversation, settings).ifPresent(request::setExpectedTurn);
    if (settings.history() != null) {
      request.setHistory(settings.history());
    }
    return request.build();
  }

  static ConverseStreamRequest stream(
      Conversation conversation, CallSettings settings, String requestId) {
    ConverseStreamRequest.Builder request =
        ConverseStreamRequest.newBuilder()
            .setConversation(conversation.raw())
            .setRequestId(requestId)
            .setResumable(settings.resume());
    if (settings.options() != null) {
      request.setOptions(settings.options());
    }
    expectedTurn(conversation, settings).ifPresent(request::setExpectedTurn);
    if (settings.history() != null) {
      request.setHistory(settings.history());
    }
    return request.build();
  }

  private static OptionalInt expectedTurn(Conversation conversation, CallSettings settings) {
    return settings.expectedTurn() == null
        ? conversation.lastTurn()
        : OptionalInt.of(settings.expectedTurn());
  }
}
