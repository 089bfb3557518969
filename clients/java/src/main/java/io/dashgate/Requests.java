package io.dashgate;

import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseStreamRequest;

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
    return request.build();
  }
}
