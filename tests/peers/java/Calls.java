import com.alibaba.dashscope.aigc.multimodalconversation.AudioParameters;
import com.alibaba.dashscope.aigc.multimodalconversation.MultiModalConversation;
import com.alibaba.dashscope.aigc.multimodalconversation.MultiModalConversationParam;
import com.alibaba.dashscope.aigc.multimodalconversation.MultiModalConversationResult;
import com.alibaba.dashscope.common.MultiModalMessage;
import com.alibaba.dashscope.exception.ApiException;
import com.alibaba.dashscope.tools.FunctionDefinition;
import com.alibaba.dashscope.tools.ToolFunction;
import com.alibaba.dashscope.utils.JsonUtils;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The cases of calls over HTTP. */
final class Calls {
  private static final String AUDIO_MODEL = "qwen-audio-turbo";
  private static final String SOUND =
      "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav";

  private Calls() {}

  private static MultiModalConversationParam.MultiModalConversationParamBuilder<?, ?> asked(
      String model, String name, String value, String text) {
    // The SDK writes the address of an upload into the map.
    Map<String, Object> media = new HashMap<>(Map.of(name, value));
    List<Map<String, Object>> content = List.of(media, Map.of("text", text));
    return MultiModalConversationParam.builder()
        .model(model)
        .message(MultiModalMessage.builder().role("user").content(content).build());
  }

  private static MultiModalConversationParam.MultiModalConversationParamBuilder<?, ?> quickStart() {
    return asked(AUDIO_MODEL, "audio", SOUND, "这段音频在说什么?");
  }

  private static void show(MultiModalConversationParam asked) throws Exception {
    try {
      Sdk.show(new MultiModalConversation().call(asked));
    } catch (ApiException error) {
      Sdk.showError(error);
    }
  }

  private static void showStream(MultiModalConversationParam asked) throws Exception {
    try {
      new MultiModalConversation().streamCall(asked).blockingForEach(Sdk::show);
    } catch (ApiException error) {
      Sdk.showError(error);
    }
  }

  private static final class Answers<T> extends Sdk.Results<T> {
    @Override
    public void onEvent(T answer) {
      Sdk.show(answer);
    }
  }

  static void whole() throws Exception {
    show(quickStart().build());
  }

  static void callback() throws Exception {
    Answers<MultiModalConversationResult> answers = new Answers<>();
    new MultiModalConversation().call(quickStart().build(), answers);
    Sdk.await(answers.ended);
  }

  static void stream(boolean incremental) throws Exception {
    showStream(quickStart().incrementalOutput(incremental).build());
  }

  static void streamCallback() throws Exception {
    Answers<MultiModalConversationResult> answers = new Answers<>();
    new MultiModalConversation()
        .streamCall(quickStart().incrementalOutput(true).build(), answers);
    Sdk.await(answers.ended);
  }

  static void upload(String path) throws Exception {
    show(asked(AUDIO_MODEL, "audio", "file://" + path, "What is in this audio?").build());
  }

  static void spokenAnswer() throws Exception {
    showStream(
        asked("qwen3-omni-flash", "audio", SOUND, "What is in this audio?")
            .modalities(List.of("text", "audio"))
            .audio(AudioParameters.builder().voice(AudioParameters.Voice.CHERRY).build())
            .incrementalOutput(true)
            .build());
  }

  static void toolCall() throws Exception {
    String parameters =
        "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}";
    FunctionDefinition weather =
        FunctionDefinition.builder()
            .name("get_weather")
            .description("The weather of a city.")
            .parameters(JsonUtils.parse(parameters))
            .build();
    show(
        asked("qwen3-vl-plus", "text", "Use get_weather.", "Hangzhou: get_weather")
            .tools(List.of(ToolFunction.builder().function(weather).build()))
            .build());
  }

  static void transcript(String path) throws Exception {
    List<Map<String, Object>> content =
        List.of(new HashMap<>(Map.of("audio", "file://" + path)));
    show(
        MultiModalConversationParam.builder()
            .model("qwen3-asr-flash")
            .message(MultiModalMessage.builder().role("user").content(content).build())
            .parameter("asr_options", Map.of("language", "en"))
            .build());
  }

  private static MultiModalConversationParam voiced() {
    return MultiModalConversationParam.builder()
        .model("qwen3-tts-flash")
        .text("你好，世界。")
        .voice(AudioParameters.Voice.CHERRY)
        .languageType("Chinese")
        .build();
  }

  static void textToSpeech() throws Exception {
    show(voiced());
    showStream(voiced());
  }

  static void wrongKey() throws Exception {
    show(quickStart().apiKey("sk-bad").build());
  }

  static void wrongParameter() throws Exception {
    show(quickStart().topP(7.0).build());
    showStream(quickStart().topP(7.0).build());
  }

  static void unknownModel() throws Exception {
    show(asked("no-such-model", "audio", SOUND, "?").build());
  }
}
