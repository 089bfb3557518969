package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.dashgate.v1.Choice;
import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.GenerationOptions;
import io.dashgate.v1.HistoryPolicy;
import io.dashgate.v1.HistoryUsed;
import io.dashgate.v1.JsonSchema;
import io.dashgate.v1.Message;
import io.dashgate.v1.Model;
import io.dashgate.v1.TokenLogprob;
import io.dashgate.v1.Usage;
import io.grpc.Status;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class StructuredCallTest extends GatewayTest {
  private static final OutputType<HistoryUsed> TYPE =
      OutputType.of(HistoryUsed.getDefaultInstance());

  private static final String VALUE =
      "{\"turn\":3,\"turns_sent\":2,\"turnsLeftOut\":0,\"mediaLeftOut\":0,"
          + "\"estimatedInputTokens\":7}";

  private final Conversation conversation = new Conversation("m").user("How many turns?");
  @Test
  void becomesAMessage() {
    answers(VALUE);
    TypedAnswer<HistoryUsed> answer = client.converseAs(TYPE, conversation);
    assertEquals(3, answer.value().getTurn());
    assertEquals(2, answer.value().getTurnsSent());
    assertEquals(VALUE, answer.answer().text());
    JsonSchema sent =
        gateway.requests.get(0).getOptions().getResponseFormat().getJsonSchema();
    assertEquals("HistoryUsed", sent.getName());
    assertEquals(TYPE.schema(), sent.getSchema());
    assertEquals(1, conversation.messages().size());
  }

  @Test
  void becomesWhatAFunctionMakes() {
    answers("12");
    OutputType<Integer> number =
        OutputType.of("number", "{\"type\":\"integer\"}", Integer::parseInt);
    GenerationOptions options = GenerationOptions.newBuilder().setTemperature(0.5).build();
    CallSettings settings = CallSettings.create().options(options);
    assertEquals(
        12, client.converseAsAsync(number, conversation, false, settings).join().value());
    assertEquals(0.5, gateway.requests.get(0).getOptions().getTemperature());
  }

  @Test
  void isAnErrorIfItIsNotOfTheType() {
    answers("{\"turn\":3}");
    DashgateException fault =
        assertThrows(DashgateException.class, () -> client.converseAs(TYPE, conversation));
    assertEquals(Status.Code.INTERNAL, fault.code());
    assertEquals("OUTPUT_INVALID", fault.rawReason());
    assertEquals("$.turnsSent: is missing", fault.getMessage());
    assertEquals(5, fault.usage().orElseThrow().getOutputTokens());
    assertEquals("r-1", fault.requestId());
    CompletionException later =
        assertThrows(
            CompletionException.class,
            client.converseAsAsync(TYPE, conversation, false, CallSettings.create())::join);
    assertEquals("OUTPUT_INVALID", ((DashgateException) later.getCause()).rawReason());
  }

  @Test
  void namesThePlaceOfWhatIsWrongAndQuotesNoValue() {
    Map<String, String> wrong = new LinkedHashMap<>();
    wrong.put("sesame", "$: is no JSON, see line 1 column 1");
    wrong.put("\"sesame\"", "$: must be an object");
    wrong.put("{\"turn\":", "$: is no JSON, see line 1 column 9");
    wrong.put("{\"turn\":true}", "$.turn: must be an integer");
    wrong.put("{\"turn\":1.5}", "$.turn: must be an integer");
    wrong.put("{\"turn\":\"sesame\"}", "$: is not the JSON form of a HistoryUsed");
    wrong.put("{\"turns\":1}", "$.turns: is not known; known are turn, turnsSent, tur");
    wrong.forEach(
        (text, message) -> {
          gateway.requests.clear();
          answers(text);
          DashgateException fault =
              assertThrows(
                  DashgateException.class, () -> client.converseAs(TYPE, conversation));
          String found = fault.getMessage();
          assertEquals(message, found.substring(0, Math.min(message.length(), found.length())));
          assertNull(fault.getCause());
        });
  }

  @Test
  void isRepairedOnce() {
    answers("three", VALUE);
    CallSettings settings = CallSettings.create().requestId("first");
    assertEquals(3, client.converseAs(TYPE, conversation, true, settings).value().getTurn());
    List<Message> shown = gateway.requests.get(1).getConversation().getMessagesList();
    assertEquals("three", shown.get(1).getContent(0).getText());
    assertTrue(shown.get(2).getContent(0).getText().contains("not a value of the JSON Schema"));
    assertEquals("first", gateway.requests.get(0).getRequestId());
    assertTrue(!gateway.requests.get(1).getRequestId().equals("first"));
    assertEquals(1, conversation.messages().size());
    answers("three", "four", "five");
    gateway.requests.clear();
    assertThrows(
        DashgateException.class,
        () -> client.converseAs(TYPE, conversation, true, CallSettings.create()));
    assertEquals(2, gateway.requests.size());
  }

  @Test
  void hasASchemaOfItsMessage() {
    assertEquals(
        "{\"type\":\"object\",\"properties\":{\"maxTurns\":{\"type\":\"integer\"},"
            + "\"maxInputTokens\":{\"type\":\"integer\"},\"media\":{\"$ref\":0}},"
            + "\"required\":[\"media\"],\"additionalProperties\":false}",
        OutputType.of(HistoryPolicy.getDefaultInstance())
            .schema()
            .replaceAll("\\{[^{}]*HISTORY_MEDIA_ALL[^{}]*}", "{\"\\$ref\":0}"));
    JsonObject content = schema(Content.getDefaultInstance());
    assertEquals(0, content.getAsJsonArray("required").size() - 2);
    assertEquals("object", property(content, "extra").get("type").getAsString());
    assertEquals(
        "#/$defs/dashgate.v1.Audio", property(content, "audio").get("$ref").getAsString());
    JsonObject defined = content.getAsJsonObject("$defs");
    assertEquals(
        "date-time",
        property(defined.getAsJsonObject("dashgate.v1.AudioFile"), "expiresAt")
            .get("format")
            .getAsString());
    JsonObject token = schema(TokenLogprob.getDefaultInstance());
    assertEquals("number", property(token, "logprob").get("type").getAsString());
    assertEquals("base64", property(token, "bytes").get("contentEncoding").getAsString());
    assertEquals(
        "#/$defs/dashgate.v1.TokenLogprob",
        property(token, "topLogprobs").getAsJsonObject("items").get("$ref").getAsString());
    JsonObject stored = schema(io.dashgate.v1.Conversation.getDefaultInstance());
    assertEquals(
        "string",
        property(stored, "labels").getAsJsonObject("additionalProperties").get("type")
            .getAsString());
    assertTrue(schema(Model.getDefaultInstance()).has("properties"));
  }

  private static JsonObject schema(com.google.protobuf.Message prototype) {
    return JsonParser.parseString(OutputType.of(prototype).schema()).getAsJsonObject();
  }

  private static JsonObject property(JsonObject schema, String name) {
    return schema.getAsJsonObject("properties").getAsJsonObject(name);
  }

  private void answers(String... texts) {
    gateway.converse =
        (request, out) -> {
          String text = texts[Math.min(gateway.requests.size(), texts.length) - 1];
          Message message = Message.newBuilder().addContent(Contents.text(text)).build();
          out.onNext(
              ConverseResponse.newBuilder()
                  .setRequestId("r-1")
                  .setUsage(Usage.newBuilder().setOutputTokens(5))
                  .addChoices(Choice.newBuilder().setMessage(message))
                  .build());
          out.onCompleted();
        };
  }
}
