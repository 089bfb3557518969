package io.dashgate;

import io.dashgate.v1.Content;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.ToolCall;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Reads a list of messages in the form of OpenAI's chat completions or of DashScope. Files of this
 * machine are refused, because a list may come from somewhere else.
 */
final class MessageList {
  private static final String FUNCTION = "function";

  private MessageList() {}

  static List<Message> read(JsonNode list) {
    List<Message> messages = new ArrayList<>();
    list.items().forEach(message -> messages.add(message(message)));
    return messages;
  }

  private static Message message(JsonNode node) {
    node.only("role", "content", "reasoning_content", "tool_calls", "tool_call_id");
    Role role = role(node.need("role"));
    Message.Builder message = Message.newBuilder().setRole(role);
    node.get("content").ifPresent(content -> message.addAllContent(contents(content)));
    node.get("reasoning_content").ifPresent(text -> message.setReasoningText(text.text()));
    node.get("tool_call_id").ifPresent(id -> message.setToolCallId(id.text()));
    if (node.get("tool_calls").isPresent()) {
      for (JsonNode call : node.need("tool_calls").items()) {
        message.addToolCalls(toolCall(call, message.getToolCallsCount()));
      }
    }
    return message.build();
  }

  private static Role role(JsonNode node) {
    switch (node.text()) {
      case "system":
      case "developer":
        return Role.ROLE_SYSTEM;
      case "user":
        return Role.ROLE_USER;
      case "assistant":
        return Role.ROLE_ASSISTANT;
      case "tool":
        return Role.ROLE_TOOL;
      default:
        throw node.error("is no role; roles are system, developer, user, assistant, tool");
    }
  }

  private static ToolCall toolCall(JsonNode node, int position) {
    node.only("id", "type", "index", "function");
    Optional<JsonNode> type = node.get("type");
    if (type.isPresent() && !type.get().text().equals(FUNCTION)) {
      throw type.get().error("must be " + FUNCTION);
    }
    JsonNode function = node.need(FUNCTION).only("name", "arguments");
    JsonNode name = function.need("name");
    if (name.text().isEmpty()) {
      throw name.error("is empty");
    }
    ToolCall.Builder call =
        ToolCall.newBuilder()
            .setIndex(node.get("index").map(JsonNode::index).orElse(position))
            .setType(FUNCTION)
            .setName(name.text());
    node.get("id").ifPresent(id -> call.setId(id.text()));
    function.get("arguments").ifPresent(text -> call.setArguments(text.text()));
    return call.build();
  }

  private static List<Content> contents(JsonNode node) {
    List<Content> contents = new ArrayList<>();
    if (node.isText()) {
      contents.add(Contents.text(node.text()));
    } else {
      node.items().forEach(part -> contents.add(part(part)));
    }
    return contents;
  }

  private static Content part(JsonNode node) {
    if (node.get("type").isEmpty()) {
      return dashScopePart(node);
    }
    JsonNode type = node.need("type");
    switch (type.text()) {
      case "text":
        return Contents.text(node.only("type", "text").need("text").text());
      case "image_url":
        return Contents.image(medium(url(node, "image_url", "detail"), "image"), null);
      case "video_url":
        return Contents.video(medium(url(node, "video_url"), "video"), null);
      case "input_audio":
        return inputAudio(
            node.only("type", "input_audio").need("input_audio").only("data", "format"));
      case "video":
        return video(node.only("type", "video").need("video"));
      default:
        throw type.error(
            "is no type; types are text, image_url, input_audio, video_url, video");
    }
  }

  /** DashScope has no choice of an image's detail, which OpenAI has; it is not used. */
  private static JsonNode url(JsonNode node, String key, String... unused) {
    String[] keys = Stream.concat(Stream.of("url"), Stream.of(unused)).toArray(String[]::new);
    return node.only("type", key).need(key).only(keys).need("url");
  }

  /** A part without a type has one key, which is its kind. */
  private static Content dashScopePart(JsonNode node) {
    node.only("text", "audio", "image", "video");
    for (String kind : List.of("text", "audio", "image", "video")) {
      if (node.get(kind).isPresent()) {
        return dashScopePart(kind, node.only(kind).need(kind));
      }
    }
    throw node.error("has no content");
  }

  private static Content dashScopePart(String kind, JsonNode value) {
    switch (kind) {
      case "text":
        return Contents.text(value.text());
      case "audio":
        return Contents.audio(medium(value, kind), null);
      case "image":
        return Contents.image(medium(value, kind), null);
      default:
        return video(value);
    }
  }

  /** A video is a URI, or a list of those of its frames. */
  private static Content video(JsonNode node) {
    if (node.isText()) {
      return Contents.video(medium(node, "video"), null);
    }
    List<Content> frames = new ArrayList<>();
    if (node.items().isEmpty()) {
      throw node.error("has no images");
    }
    node.items().forEach(frame -> frames.add(Contents.image(medium(frame, "image"), null)));
    return Contents.video(frames);
  }

  private static Content inputAudio(JsonNode node) {
    JsonNode data = node.need("data");
    String format = node.get("format").map(JsonNode::text).orElse("");
    String type = MimeTypes.of(new byte[0], "." + format, "audio");
    if (Medium.isUri(data.text())) {
      return Contents.audio(medium(data, "audio", type), null);
    }
    byte[] bytes = DataUri.base64(data, data.text(), "is neither a URI nor base64");
    return Contents.audio(Medium.typed(bytes, type, "audio"), null);
  }

  private static Medium medium(JsonNode node, String kind) {
    return medium(node, kind, "");
  }

  /** Reads a URI; data without a type have the other one. */
  private static Medium medium(JsonNode node, String kind, String otherType) {
    String uri = node.text();
    if (DataUri.is(uri)) {
      return DataUri.medium(node, uri, kind, otherType);
    }
    if (!Medium.isUri(uri)) {
      throw node.error(
          "must be a URI that begins with http:, https:, oss: or data:, and no file");
    }
    return Medium.of(uri, kind);
  }
}
