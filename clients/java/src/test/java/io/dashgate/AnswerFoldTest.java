package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.Struct;
import com.google.protobuf.UnknownFieldSet;
import com.google.protobuf.Value;
import io.dashgate.v1.Annotation;
import io.dashgate.v1.AudioFile;
import io.dashgate.v1.Choice;
import io.dashgate.v1.ChoiceEnd;
import io.dashgate.v1.Completed;
import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.FinishReason;
import io.dashgate.v1.Logprobs;
import io.dashgate.v1.Role;
import io.dashgate.v1.SearchInfo;
import io.dashgate.v1.SearchResult;
import io.dashgate.v1.Started;
import io.dashgate.v1.TokenLogprob;
import io.dashgate.v1.ToolCall;
import io.dashgate.v1.Usage;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

class AnswerFoldTest {
  private final AnswerFold fold = new AnswerFold();

  @Test
  void joinsTextsUntilSomethingElseComes() {
    add(Delta.newBuilder().setText("a"));
    add(Delta.newBuilder().setExtra(struct("x", "1")));
    add(Delta.newBuilder().setExtra(struct("y", "1")));
    add(Delta.newBuilder().setText("b"));
    add(Delta.newBuilder().setExtra(struct("x", "2")));
    add(Delta.newBuilder().setImageUri("oss://i"));
    add(Delta.newBuilder().setText("c"));
    add(Delta.newBuilder().setReasoningText("be"));
    add(Delta.newBuilder().setReasoningText("cause"));
    Answer answer = end();
    List<Content> parts = answer.message().getContentList();
    assertEquals("ab", parts.get(0).getText());
    assertEquals("2", parts.get(0).getExtra().getFieldsOrThrow("x").getStringValue());
    assertEquals("1", parts.get(0).getExtra().getFieldsOrThrow("y").getStringValue());
    assertEquals("oss://i", parts.get(1).getImage().getUri());
    assertEquals("c", parts.get(2).getText());
    assertEquals(3, parts.size());
    assertEquals("abc", answer.text());
    assertEquals("because", answer.reasoningText());
    assertEquals(Role.ROLE_ASSISTANT, answer.message().getRole());
  }

  @Test
  void keepsAnExtraThatComesFirst() {
    add(Delta.newBuilder().setExtra(struct("x", "1")));
    add(Delta.newBuilder().setText("a"));
    List<Content> parts = end().message().getContentList();
    assertEquals(Content.KindCase.KIND_NOT_SET, parts.get(0).getKindCase());
    assertTrue(parts.get(0).getExtra().containsFields("x"));
    assertEquals("a", parts.get(1).getText());
  }

  @Test
  void putsTheSoundLast() {
    add(Delta.newBuilder().setAudio(ByteString.copyFrom(new byte[] {1, 2})));
    add(Delta.newBuilder().setAudioFile(AudioFile.newBuilder().setUri("http://first")));
    add(Delta.newBuilder().setText("la"));
    add(Delta.newBuilder().setAudio(ByteString.copyFrom(new byte[] {3})));
    add(Delta.newBuilder().setAudioFile(AudioFile.newBuilder().setUri("http://last")));
    Answer answer = end();
    Content last = answer.message().getContent(1);
    assertEquals("audio/pcm", last.getAudio().getMimeType());
    assertEquals("http://last", last.getAudio().getFile().getUri());
    assertArrayEquals(new byte[] {1, 2, 3}, answer.audio());
  }

  @Test
  void givesAudioTheTypeThatItsFileNames() {
    Struct.Builder rate = struct("mime_type", "audio/pcm;rate=44100;channels=2");
    add(file(struct("mime_type", "audio/mpeg")));
    add(Delta.newBuilder().setAudio(ByteString.copyFrom(new byte[] {1})));
    add(Delta.newBuilder().setAudio(ByteString.copyFrom(new byte[] {2})));
    add(file(rate).setStartsPart(true));
    add(Delta.newBuilder().setAudio(ByteString.copyFrom(new byte[] {3})));
    add(Delta.newBuilder().setStartsPart(true).setAudio(ByteString.copyFrom(new byte[] {4})));
    add(file(struct("mime_type", "audio/mpeg")).setStartsPart(true));
    assertEquals(
        List.of("audio/mpeg", "audio/pcm;rate=44100;channels=2", "audio/pcm", ""),
        audioTypes(end()));
  }

  @Test
  void doesNotTakeAnotherValueForATypeOfAudio() {
    for (String named : List.of("", "text/plain", "audio")) {
      add(file(struct("mime_type", named)).setStartsPart(true));
      add(Delta.newBuilder().setAudio(ByteString.copyFrom(new byte[] {1})));
    }
    Value number = Value.newBuilder().setNumberValue(1).build();
    add(file(Struct.newBuilder().putFields("mime_type", number)).setStartsPart(true));
    add(Delta.newBuilder().setAudio(ByteString.copyFrom(new byte[] {1})));
    assertEquals(
        List.of("audio/pcm", "audio/pcm", "audio/pcm", "audio/pcm"), audioTypes(end()));
  }

  @Test
  void takesAFileWithoutBytesForTheSound() {
    add(Delta.newBuilder().setAudioFile(AudioFile.newBuilder().setUri("http://a").setId("7")));
    Answer answer = end();
    assertEquals("http://a", answer.message().getContent(0).getAudio().getUri());
    assertEquals("7", answer.message().getContent(0).getAudio().getFile().getId());
    assertEquals("", answer.message().getContent(0).getAudio().getMimeType());
    assertEquals(0, answer.audio().length);
  }

  @Test
  void joinsToolCallsByTheirIndex() {
    add(call(1).setId("b").setName("second").setArguments("{"));
    add(call(0).setId("a").setType("function").setName("first").setArguments("{\"x\""));
    add(call(1).setId("ignored").setName("Tool").setArguments("}"));
    add(call(0).setArguments(":1}"));
    List<ToolCall> calls = end().toolCalls();
    assertEquals(
        ToolCall.newBuilder()
            .setId("a")
            .setType("function")
            .setName("first")
            .setArguments("{\"x\":1}")
            .build(),
        calls.get(0));
    assertEquals("b", calls.get(1).getId());
    assertEquals("secondTool", calls.get(1).getName());
    assertEquals("{}", calls.get(1).getArguments());
  }

  @Test
  void tellsChoicesApart() {
    add(Delta.newBuilder().setChoiceIndex(2).setText("two"));
    add(Delta.newBuilder().setText("zero"));
    for (String token : List.of("ze", "ro")) {
      add(
          Delta.newBuilder()
              .setLogprobs(
                  Logprobs.newBuilder().addContent(TokenLogprob.newBuilder().setToken(token))));
    }
    Completed.Builder completed = Completed.newBuilder();
    for (int index : new int[] {1, 0}) {
      completed.addChoices(
          ChoiceEnd.newBuilder()
              .setIndex(index)
              .setFinishReasonValue(77)
              .setRawFinishReason("new"));
    }
    fold.add(ConverseStreamResponse.newBuilder().setCompleted(completed).build());
    Answer answer = fold.answer(TextHeaders.NONE);
    assertEquals(List.of(0, 1, 2), List.of(index(answer, 0), index(answer, 1), index(answer, 2)));
    assertEquals("zero", answer.text());
    assertEquals(FinishReason.UNRECOGNIZED, answer.finishReason());
    assertEquals(77, answer.choices().get(0).getFinishReasonValue());
    assertEquals("new", answer.rawFinishReason());
    assertEquals(2, answer.choices().get(0).getLogprobs().getContentCount());
    assertEquals(0, answer.choices().get(1).getMessage().getContentCount());
    assertFalse(answer.choices().get(1).hasLogprobs());
    assertEquals("", answer.choices().get(2).getRawFinishReason());
  }

  @Test
  void skipsWhatIsOfANewerSchema() {
    UnknownFieldSet news =
        UnknownFieldSet.newBuilder()
            .addField(99, UnknownFieldSet.Field.newBuilder().addVarint(1).build())
            .build();
    fold.add(ConverseStreamResponse.newBuilder().setUnknownFields(news).build());
    add(Delta.newBuilder().setChoiceIndex(5).setUnknownFields(news));
    add(Delta.newBuilder().setText("known"));
    Answer answer = end();
    assertEquals("known", answer.text());
    assertEquals(1, answer.choices().size());
  }

  @Test
  void keepsWhatBelongsToTheWholeAnswer() {
    fold.add(
        ConverseStreamResponse.newBuilder()
            .setStarted(
                Started.newBuilder().setModel("m").setRequestId("r").setUpstreamRequestId("u"))
            .build());
    add(found("old"));
    add(found("new"));
    add(Delta.newBuilder().setAnnotation(Annotation.newBuilder().setLanguage("zh")));
    assertFalse(fold.isComplete());
    fold.add(
        ConverseStreamResponse.newBuilder()
            .setCompleted(
                Completed.newBuilder()
                    .setUsage(Usage.newBuilder().setInputTokens(3))
                    .setExtraOutput(struct("k", "v")))
            .build());
    Answer answer = fold.answer(TextHeaders.NONE);
    assertEquals("m", answer.model());
    assertEquals("r", answer.requestId());
    assertEquals("u", answer.upstreamRequestId());
    assertEquals(3, answer.usage().getInputTokens());
    assertEquals("new", answer.raw().getSearchInfo().getSearchResults(0).getTitle());
    assertEquals("zh", answer.message().getAnnotations(0).getLanguage());
    assertTrue(answer.raw().getExtraOutput().containsFields("k"));
    assertFalse(answer.raw().hasTiming());
  }

  @Test
  void hasAnAnswerWithoutAnyChoice() {
    Answer answer = end();
    assertEquals("", answer.text());
    assertEquals(Role.ROLE_ASSISTANT, answer.message().getRole());
    assertEquals(List.<Choice>of(), answer.choices());
  }

  private void add(Delta.Builder delta) {
    fold.add(ConverseStreamResponse.newBuilder().setDelta(delta).build());
  }

  private void add(ToolCall.Builder call) {
    add(Delta.newBuilder().setToolCall(call));
  }

  private Answer end() {
    fold.add(FakeGateway.completed());
    return fold.answer(TextHeaders.NONE);
  }

  private static Delta.Builder found(String title) {
    return Delta.newBuilder()
        .setSearchInfo(
            SearchInfo.newBuilder().addSearchResults(SearchResult.newBuilder().setTitle(title)));
  }

  private static Delta.Builder file(Struct.Builder extra) {
    return Delta.newBuilder()
        .setAudioFile(AudioFile.newBuilder().setUri("http://a").setExtra(extra));
  }

  private static List<String> audioTypes(Answer answer) {
    return answer.message().getContentList().stream()
        .map(part -> part.getAudio().getMimeType())
        .collect(Collectors.toList());
  }

  private static int index(Answer answer, int at) {
    return answer.choices().get(at).getIndex();
  }

  private static ToolCall.Builder call(int index) {
    return ToolCall.newBuilder().setIndex(index);
  }

  private static Struct.Builder struct(String key, String value) {
    return Struct.newBuilder()
        .putFields(key, Value.newBuilder().setStringValue(value).build());
  }
}
