package io.dashgate;

import io.dashgate.v1.ToolCall;
import io.grpc.Status;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;

/** Calls the model and its tools alternately. */
final class ToolLoop {
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
      Answer answer = client.converse(conversation, settings);
      conversation.append(answer);
      if (answer.toolCalls().isEmpty()) {
        return answer;
      }
      if (round == maxRounds) {
        throw DashgateException.own(
            Status.Code.FAILED_PRECONDITION,
            "TOOL_ROUNDS",
            "the model still asks for tools after " + maxRounds + " rounds of them",
            answer.requestId());
      }
      for (ToolCall call : answer.toolCalls()) {
        conversation.toolResult(call, result(call));
      }
    }
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
