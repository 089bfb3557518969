package io.dashgate;

import io.dashgate.v1.Content;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.ToolCall;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * Reads a list of messages in the form of OpenAI's chat completions or of DashScope. Files of this
 * machine are refused, because a list may come from somewhere else.
 */
final class MessageList {
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
    if (role == Role.ROLE_TOOL) {
      message.setToolCallId(node.need("tool_call_id").text());
    } else {
      node.get("tool_call_id").ifPresent(MessageList::refuseCallId);
    }
    if (node.get("tool_calls").isPresent()) {
      for (JsonNode call : node.need("tool_calls").items()) {
        message.addToolCalls(toolCall(call, message.getToolCallsCount()));
      }
    }
    return message.build();
  }

  private static void refuseCallId(JsonNode node) {
    throw node.error("belongs to the role tool");
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
    JsonNode function = node.need("function").only("name", "arguments");
    ToolCall.Builder call =
        ToolCall.newBuilder()
            .setIndex(position)
            .setId(node.need("id").text())
            .setName(function.need("name").text());
    node.get("type").ifPresent(type -> call.setType(type.text()));
    function.get("arguments").ifPresent(text -> call.setArguments(text.text()));
    return call.build();
  }

  private static List<Content> contents(JsonNode node) {
    List<Content> contents = new ArrayList<>();
    if (!node.isText()) {
      node.items().forEach(part -> contents.add(part(part)));
    } else if (!node.text().isEmpty()) {
      contents.add(Contents.text(node.text()));
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
        return frames(node.only("type", "video").need("video"));
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
        return value.isList() ? frames(value) : Contents.video(medium(value, kind), null);
    }
  }

  private static Content frames(JsonNode node) {
    List<Content> frames = new ArrayList<>();
    if (node.items().isEmpty()) {
      throw node.error("has no images");
    }
    node.items().forEach(frame -> frames.add(Contents.image(medium(frame, "image"), null)));
    return Contents.video(frames);
  }

  private static Content inputAudio(JsonNode node) {
    JsonNode data = node.need("data");
    String mimeType = node.get("format").map(format -> audioType(format.text())).orElse(null);
    if (Medium.isUri(data.text())) {
      return Contents.audio(medium(data, "audio"), mimeType);
    }
    byte[] bytes = DataUri.base64(data, data.text(), "is neither a URI nor base64");
    return Contents.audio(Medium.of(bytes, "audio"), mimeType);
  }

  private static String audioType(String format) {
    String known = MimeTypes.of(new byte[0], "." + format, "audio");
    return known.isEmpty() ? "audio/" + format : known;
  }

  private static Medium medium(JsonNode node, String kind) {
    String uri = node.text();
    if (DataUri.is(uri)) {
      return DataUri.medium(node, uri, kind);
    }
    if (!Medium.isUri(uri)) {
      throw node.error(
          "must be a URI that begins with http:, https:, oss: or data:, and no file");
    }
    return Medium.of(uri, kind);
  }
}
