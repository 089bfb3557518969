package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.dashgate.v1.Content;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.ToolCall;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class MessageListTest {
  @Test
  void takesTheFormOfOpenAi() {
    Map<String, Object> answer = new HashMap<>();
    answer.put("role", "assistant");
    answer.put("content", null);
    answer.put("refusal", null);
    answer.put("reasoning_content", "Hm.");
    answer.put(
        "tool_calls",
        List.of(
            Map.of(
                "id", "call-1", "type", "function",
                "function", Map.of("name", "look", "arguments", "{}"))));
    Conversation conversation =
        Conversation.fromMessages(
            "m",
            List.of(
                Map.of("role", "developer", "content", "Be brief."),
                Map.of(
                    "role", "user",
                    "content",
                    List.of(
                        Map.of("type", "text", "text", "What is it?"),
                        Map.of(
                            "type", "input_audio",
                            "input_audio", Map.of("data", "SUQz", "format", "mp3")))),
                answer,
                Map.of("role", "tool", "tool_call_id", "call-1", "content", "a dot")));
    List<Message> messages = conversation.messages();
    assertEquals(Role.ROLE_SYSTEM, messages.get(0).getRole());
    Content audio = messages.get(1).getContent(1);
    assertEquals("audio/mpeg", audio.getAudio().getMimeType());
    assertEquals("ID3", audio.getAudio().getData().toStringUtf8());
    assertEquals(0, messages.get(2).getContentCount());
    assertEquals("Hm.", messages.get(2).getReasoningText());
    assertEquals("look", messages.get(2).getToolCalls(0).getName());
    assertEquals("call-1", messages.get(3).getToolCallId());
  }

  @Test
  void takesTheFormOfDashScope() {
    Conversation conversation =
        Conversation.fromMessages(
            "m",
            "[{\"role\":\"user\",\"content\":[{\"audio\":\"oss://a\"},{\"image\":\"https://b\"},"
                + "{\"video\":[\"https://1\",\"https://2\"]},{\"video\":\"https://c\"},"
                + "{\"text\":\"What?\"}]}]");
    List<Content> contents = conversation.messages().get(0).getContentList();
    assertEquals("oss://a", contents.get(0).getAudio().getUri());
    assertEquals("https://b", contents.get(1).getImage().getUri());
    assertEquals(2, contents.get(2).getVideo().getFrames().getFramesCount());
    assertEquals("https://c", contents.get(3).getVideo().getUri());
    assertEquals("What?", contents.get(4).getText());
  }

  @Test
  void makesBytesOfDataUris() {
    assertEquals("image/x", image("data:image/x;base64,SUQz").getImage().getMimeType());
    assertEquals("ID3", image("DATA:;base64,SUQz").getImage().getData().toStringUtf8());
    assertEquals("a b+", image("data:text/plain,a%20b+").getImage().getData().toStringUtf8());
    Content other = image("data:a/b,\u8bf7%c3%A9");
    assertEquals("\u8bf7\u00e9", other.getImage().getData().toStringUtf8());
    for (String padded : List.of("QQ", "QQ==", "QUI", "QUI=", "QUJD")) {
      String data = image("data:;BASE64," + padded).getImage().getData().toStringUtf8();
      assertEquals("ABC".substring(0, padded.replace("=", "").length() - 1), data);
    }
    assertEquals("image/png", image("data:;charset=x,%89PNG%0d%0a%1a%0a").getImage().getMimeType());
    assertEquals("HTTPS://a", image("HTTPS://a").getImage().getUri());
  }

  @Test
  void takesToolCalls() {
    String functions =
        "{\"function\":{\"name\":\"f\"}},"
            + "{\"index\":7,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"g\"}},"
            + "{\"index\":null,\"type\":null,\"function\":{\"name\":\"h\",\"arguments\":\"{}\"}}";
    List<ToolCall> calls =
        Conversation.fromMessages("m", toolCalls(functions)).messages().get(0).getToolCallsList();
    ToolCall first = ToolCall.newBuilder().setType("function").setName("f").build();
    ToolCall second = first.toBuilder().setIndex(7).setId("c").setName("g").build();
    ToolCall third = first.toBuilder().setIndex(2).setName("h").setArguments("{}").build();
    assertEquals(List.of(first, second, third), calls);
  }

  @Test
  void namesThePlaceOfToolCallsThatItRefuses() {
    Map<String, String> wrong = new HashMap<>();
    for (String index : List.of("-1", "0.5", "2147483648", "\"1\"", "true")) {
      wrong.put(
          toolCalls("{\"index\":" + index + ",\"function\":{\"name\":\"f\"}}"),
          "messages[0].tool_calls[0].index: must be an integer of 0 or more");
    }
    for (String type : List.of("code", "")) {
      wrong.put(
          toolCalls("{\"type\":\"" + type + "\",\"function\":{\"name\":\"f\"}}"),
          "messages[0].tool_calls[0].type: must be function");
    }
    wrong.put(
        toolCalls("{\"function\":{\"name\":\"\"}}"),
        "messages[0].tool_calls[0].function.name: is empty");
    wrong.put(
        toolCalls("{\"function\":{}}"), "messages[0].tool_calls[0].function.name: is missing");
    wrong.put(toolCalls("{}"), "messages[0].tool_calls[0].function: is missing");
    wrong.put(toolCalls("null"), "messages[0].tool_calls[0]: must be an object");
    refuses(wrong);
  }

  @Test
  void takesTheTypeOfTheUriThenOfTheFormatThenOfTheBytes() {
    assertEquals("audio/x", audioType("data:audio/x;base64,SUQz", "wav"));
    assertEquals("audio/wav", audioType("data:;base64,SUQz", "wav"));
    assertEquals("audio/mpeg", audioType("data:;base64,SUQz", "smell"));
    assertEquals("audio/wav", audioType("SUQz", "wav"));
    assertEquals("audio/mpeg", audioType("SUQz", "smell"));
    assertEquals("", audioType("QUJD", "smell"));
    assertEquals("", audioType("oss://a", "mp3"));
  }

  @Test
  void takesWhatMayBeLeftOut() {
    List<Message> messages =
        Conversation.fromMessages(
                "m",
                "[{\"role\":\"assistant\",\"content\":\"\"},{\"role\":\"tool\",\"content\":[]},"
                    + "{\"role\":\"user\",\"tool_call_id\":\"c\",\"content\":"
                    + "[{\"type\":\"video\",\"video\":\"oss://a\"}]}]")
            .messages();
    assertEquals(List.of(Contents.text("")), messages.get(0).getContentList());
    assertEquals("", messages.get(1).getToolCallId());
    assertEquals(0, messages.get(1).getContentCount());
    assertEquals("c", messages.get(2).getToolCallId());
    assertEquals("oss://a", messages.get(2).getContent(0).getVideo().getUri());
  }

  @Test
  void namesThePlaceOfWhatItRefuses() {
    Map<String, String> wrong = new HashMap<>();
    wrong.put("{", "messages: is no JSON");
    wrong.put("{}", "messages: must be a list");
    wrong.put("[3]", "messages[0]: must be an object");
    wrong.put("[{}]", "messages[0].role: is missing");
    wrong.put("[{\"role\":\"judge\"}]", "messages[0].role: is no role; roles are system");
    wrong.put("[{\"role\":\"user\",\"name\":\"x\"}]", "messages[0].name: is not known");
    wrong.put("[{\"role\":\"user\",\"a\\nb\":\"x\"}]", "messages[0].a?b: is not known");
    wrong.put(part("{}"), "messages[0].content[0]: has no content");
    wrong.put(part("{\"smell\":1}"), "messages[0].content[0].smell: is not known");
    wrong.put(
        part("{\"type\":\"smell\"}"), "messages[0].content[0].type: is no type; types are text");
    wrong.put(part("{\"image\":\"/etc/x\"}"), "messages[0].content[0].image: must be a URI");
    wrong.put(part("{\"image\":\"file:///x\"}"), "messages[0].content[0].image: must be a URI");
    wrong.put(
        part("{\"type\":\"image_url\",\"image_url\":{\"url\":\"dashgate-file:1\"}}"),
        "messages[0].content[0].image_url.url: must be a URI");
    wrong.put(
        part("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"./a.wav\"}}"),
        "messages[0].content[0].input_audio.data: is neither a URI nor base64");
    wrong.put(part("{\"image\":\"data:x\"}"), "messages[0].content[0].image: is a data: URI");
    refuses(wrong);
    assertThrows(
        IllegalArgumentException.class,
        () -> Conversation.fromMessages("m", List.of(Map.of("role", new Object()))));
    Map<String, Object> unnamed = new HashMap<>();
    unnamed.put(null, "user");
    assertThrows(
        IllegalArgumentException.class,
        () -> Conversation.fromMessages("m", List.of(unnamed)));
    assertThrows(
        IllegalArgumentException.class,
        () -> Conversation.fromMessages("m", Arrays.asList(Collections.emptyMap(), null)));
  }

  @Test
  void namesThePlaceOfDataThatItRefuses() {
    Map<String, String> wrong = new HashMap<>();
    for (String data : List.of("Q", "QQ=", "QQ===", "=", "Q Q=", "QQ==\\n", "_-Aa", "Q%3d")) {
      wrong.put(
          part("{\"image\":\"data:;base64," + data + "\"}"),
          "messages[0].content[0].image: is a data: URI whose data is no base64");
    }
    for (String escape : List.of("%", "a%4", "%zz")) {
      wrong.put(
          part("{\"image\":\"data:," + escape + "\"}"),
          "messages[0].content[0].image: is a data: URI with % and no two");
    }
    for (String empty : List.of("data:,", "DATA:a/b;base64,")) {
      wrong.put(
          part("{\"image\":\"" + empty + "\"}"), "messages[0].content[0].image: has no data");
    }
    wrong.put(
        part("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"\"}}"),
        "messages[0].content[0].input_audio.data: has no data");
    wrong.put(part("{\"video\":[]}"), "messages[0].content[0].video: has no images");
    wrong.put(
        part("{\"type\":\"video\",\"video\":[]}"),
        "messages[0].content[0].video: has no images");
    wrong.put(
        "[{\"role\":\"user\",\"content\":\"a\\ud800b\"}]",
        "messages[0].content: has a surrogate without its pair");
    wrong.put(
        part("{\"text\":\"\\ude00\\ud83d\"}"),
        "messages[0].content[0].text: has a surrogate without its pair");
    wrong.put("[{\"role\":null}]", "messages[0].role: is missing");
    wrong.put(part("null"), "messages[0].content[0]: must be an object");
    refuses(wrong);
  }

  private static void refuses(Map<String, String> wrong) {
    wrong.forEach(
        (json, message) -> {
          String fault =
              assertThrows(
                      IllegalArgumentException.class,
                      () -> Conversation.fromMessages("m", json))
                  .getMessage();
          assertEquals(message, fault.substring(0, Math.min(message.length(), fault.length())));
        });
  }

  @Test
  void takesAKeyWithNullAsAbsent() {
    Conversation conversation =
        Conversation.fromMessages(
            "m",
            "[{\"role\":\"assistant\",\"content\":[{\"type\":null,\"text\":\"a\",\"image\":null},"
                + "{\"type\":\"text\",\"text\":\"\\ud83d\\ude00\",\"audio\":null}],"
                + "\"reasoning_content\":null,\"tool_calls\":null,\"tool_call_id\":null,"
                + "\"name\":null}]");
    Message message = conversation.messages().get(0);
    assertEquals("a", message.getContent(0).getText());
    assertEquals("\ud83d\ude00", message.getContent(1).getText());
  }

  @Test
  void quotesNoValueInItsErrors() {
    String secret = "sesame";
    for (String json :
        List.of(
            secret + "\u0000{",
            "[{\"role\":\"user\",\"content\":\"" + secret,
            "[{\"role\":\"" + secret + "\"}]",
            "[{\"role\":\"user\",\"content\":{\"" + secret + "\":\"" + secret + "\"}}]",
            part("{\"type\":\"" + secret + "\"}"),
            part("{\"image\":\"" + secret + "\"}"),
            part("{\"image\":\"data:" + secret + "\"}"),
            part("{\"image\":\"data:;base64," + secret + "!\"}"),
            part("{\"image\":\"data:,%" + secret + "\"}"),
            part("{\"text\":\"" + secret + "\\ud800\"}"))) {
      quotesNothing(secret, () -> Conversation.fromMessages("m", json));
    }
    for (String json :
        List.of(
            "{\"model\":\"" + secret,
            "{\"lastTurn\":\"" + secret + "\"}",
            "{\"messages\":[{\"role\":\"" + secret + "\"}]}",
            "{\"createTime\":\"" + secret + "\"}")) {
      quotesNothing(secret, () -> Conversation.fromJson(json));
    }
    String position =
        assertThrows(
                IllegalArgumentException.class,
                () -> Conversation.fromMessages("m", "[{\"role\":\n \"user"))
            .getMessage();
    assertEquals("messages: is no JSON, see line 2 column 7", position);
  }

  private static void quotesNothing(String secret, Executable reading) {
    Throwable fault = assertThrows(IllegalArgumentException.class, reading);
    for (Throwable at = fault; at != null; at = at.getCause()) {
      assertFalse(at.toString().contains(secret), at::toString);
    }
  }

  @Test
  void isOneValueOfJson() {
    List<String> wrong =
        List.of(
            "", " ", "[] []", "[]x", "[", "[1,]", "[,1]", "{\"a\":1,}", "{\"a\"}", "{a:1}", "['a']",
            "[/**/]", "[01]", "[1.]", "[.5]", "[+1]", "[NaN]", "[TRUE]", "[\"\n\"]", "[\"\\x\"]",
            "[\"\\u12\"]", "[\"a]", "\uFEFF[]", "[".repeat(101) + "]".repeat(101));
    for (String text : wrong) {
      assertThrows(IllegalArgumentException.class, () -> JsonText.check("$", text), text);
      assertThrows(
          IllegalArgumentException.class, () -> Conversation.fromMessages("m", text), text);
      assertThrows(IllegalArgumentException.class, () -> Conversation.fromJson(text), text);
    }
    List<String> right =
        List.of(
            " [ ] ", "{}", "-0.5e+10", "\"\\u00e9\\n\\/\"", "{\"a\":[1,{\"\":null}],\"b\":true}",
            "[".repeat(100) + "]".repeat(100), "\"" + "ab\\n".repeat(1_000_000) + "\"");
    right.forEach(text -> JsonText.check("$", text));
  }

  @Test
  void isNotInItself() {
    Map<String, Object> message = new HashMap<>(Map.of("role", "user"));
    message.put("content", List.of(message));
    String error =
        assertThrows(
                IllegalArgumentException.class,
                () -> Conversation.fromMessages("m", List.of(message)))
            .getMessage();
    assertEquals("messages: has a value in more than 100 others", error);
  }

  @Test
  void isWrittenAndReadAsJson() {
    Conversation conversation = new Conversation("m", "Be brief.").user(image("oss://a"));
    Conversation copy = Conversation.fromJson(conversation.toJson());
    assertEquals(conversation.raw(), copy.raw());
    assertEquals("{\"model\":\"m\"}", new Conversation("m").toJson());
    assertThrows(IllegalArgumentException.class, () -> Conversation.fromJson("{\"x\":1}"));
    Answer answer =
        Answer.of(io.dashgate.v1.ConverseResponse.newBuilder().setRequestId("r-1").build());
    assertEquals("{\"requestId\":\"r-1\"}", answer.toJson());
  }

  private static Content image(String uri) {
    return Conversation.fromMessages(
            "m", List.of(Map.of("role", "user", "content", List.of(Map.of("image", uri)))))
        .messages()
        .get(0)
        .getContent(0);
  }

  private static String audioType(String data, String format) {
    Map<String, String> audio = Map.of("data", data, "format", format);
    Map<String, Object> part = Map.of("type", "input_audio", "input_audio", audio);
    return Conversation.fromMessages("m", List.of(Map.of("role", "user", "content", List.of(part))))
        .messages()
        .get(0)
        .getContent(0)
        .getAudio()
        .getMimeType();
  }

  private static String toolCalls(String json) {
    return "[{\"role\":\"assistant\",\"tool_calls\":[" + json + "]}]";
  }

  private static String part(String json) {
    return "[{\"role\":\"user\",\"content\":[" + json + "]}]";
  }
}
