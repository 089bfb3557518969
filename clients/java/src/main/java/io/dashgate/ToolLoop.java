package io.dashgate;

import io.dashgate.v1.ToolCall;
import io.grpc.Status;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/** Calls the model and its tools alternately. */
final class ToolLoop {
  /** The results of functions that brought none: no call stays unanswered. */
  private static final String FAILED = "{\"error\":\"the function failed\"}";

  private static final String NOT_RUN = "{\"error\":\"the function was not run\"}";

  private final DashgateClient client;
  private final Map<String, Tool> tools = new LinkedHashMap<>();

  ToolLoop(DashgateClient client, Collection<Tool> tools) {
    this.client = client;
    for (Tool tool : tools) {
      if (this.tools.put(tool.name(), tool) != null) {
        throw new IllegalArgumentException("there are two tools named " + tool.name());
      }
    }
  }

  Answer run(Conversation conversation, int maxRounds, CallSettings settings) {
    if (maxRounds < 1) {
      throw new IllegalArgumentException("maxRounds must be 1 or more, not " + maxRounds);
    }
    if (settings.requestId() != null) {
      throw new IllegalArgumentException(
          "a request id names one call, and a tool loop makes several: leave it out");
    }
    tools.values().forEach(tool -> conversation.tools(tool.declaration()));
    for (int round = 0; ; round++) {
      // Each round is a call with its own request id, also if the metadata has one.
      CallSettings own =
          round == 0 ? settings : settings.requestId(UUID.randomUUID().toString());
      Answer answer = client.converse(conversation, own);
      conversation.append(answer);
      if (answer.toolCalls().isEmpty()) {
        return answer;
      }
      if (round == maxRounds) {
        answerAll(conversation, answer.toolCalls(), NOT_RUN);
        throw DashgateException.own(
            Status.Code.FAILED_PRECONDITION,
            "TOOL_ROUNDS",
            "the model still asks for tools after " + maxRounds + " rounds of them",
            answer.requestId());
      }
      run(conversation, answer.toolCalls());
    }
  }

  private void run(Conversation conversation, List<ToolCall> calls) {
    for (int at = 0; at < calls.size(); at++) {
      String result;
      try {
        result = result(calls.get(at));
      } catch (RuntimeException | Error e) {
        conversation.toolResult(calls.get(at), FAILED);
        answerAll(conversation, calls.subList(at + 1, calls.size()), NOT_RUN);
        throw e;
      }
      conversation.toolResult(calls.get(at), result);
    }
  }

  private static void answerAll(Conversation conversation, List<ToolCall> calls, String result) {
    calls.forEach(call -> conversation.toolResult(call, result));
  }

  private String result(ToolCall call) {
    Tool tool = tools.get(call.getName());
    return tool == null
        ? "{\"error\":\"there is no tool " + escaped(call.getName()) + "\"}"
        : tool.call(call.getArguments());
  }

  /** Escapes a text for a JSON string. */
  private static String escaped(String text) {
    StringBuilder escaped = new StringBuilder();
    for (char character : text.toCharArray()) {
      if (character == '"' || character == '\\') {
        escaped.append('\\').append(character);
      } else if (character < ' ') {
        escaped.append(String.format("\\u%04x", (int) character));
      } else {
        escaped.append(character);
      }
    }
    return escaped.toString();
  }
}
