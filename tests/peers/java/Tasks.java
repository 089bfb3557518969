import com.alibaba.dashscope.audio.asr.recognition.Recognition;
import com.alibaba.dashscope.audio.asr.recognition.RecognitionParam;
import com.alibaba.dashscope.audio.asr.recognition.RecognitionResult;
import com.alibaba.dashscope.audio.asr.translation.TranslationRecognizerChat;
import com.alibaba.dashscope.audio.asr.translation.TranslationRecognizerParam;
import com.alibaba.dashscope.audio.asr.translation.TranslationRecognizerRealtime;
import com.alibaba.dashscope.audio.asr.translation.results.TranslationRecognizerResult;
import com.alibaba.dashscope.audio.tts.SpeechSynthesisResult;
import com.alibaba.dashscope.audio.ttsv2.SpeechSynthesisAudioFormat;
import com.alibaba.dashscope.audio.ttsv2.SpeechSynthesisParam;
import com.alibaba.dashscope.audio.ttsv2.SpeechSynthesizer;
import io.reactivex.Flowable;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/** The cases of tasks: recognition, translation, speech synthesis. */
final class Tasks {
  private Tasks() {}

  private static List<ByteBuffer> twoSentences() throws Exception {
    return Sdk.frames(Sdk.pcm(1200, 440), Sdk.pcm(1000, 0), Sdk.pcm(600, 440));
  }

  private static RecognitionParam recognized(String model, String format) {
    return RecognitionParam.builder()
        .model(model)
        .apiKey("sk-peer")
        .format(format)
        .sampleRate(16000)
        .parameter("language_hints", new String[] {"en"})
        .build();
  }

  private static final class Sentences extends Sdk.Results<RecognitionResult> {
    @Override
    public void onEvent(RecognitionResult result) {
      show(result);
    }
  }

  private static void show(RecognitionResult result) {
    if (result.isSentenceEnd()) {
      Sdk.show(Map.of("type", "sentence", "text", result.getSentence().getText()));
      Sdk.show(Map.of("type", "usage", "seconds", result.getUsage().getDuration()));
    }
  }

  static void recognition() throws Exception {
    Recognition recognizer = new Recognition();
    Sentences sentences = new Sentences();
    recognizer.call(recognized("fun-asr-realtime", "pcm"), sentences);
    for (ByteBuffer frame : twoSentences()) {
      recognizer.sendAudioFrame(frame);
    }
    recognizer.stop();
    Sdk.await(sentences.ended);
    new Recognition()
        .streamCall(
            recognized("paraformer-realtime-v2", "pcm"), Flowable.fromIterable(twoSentences()))
        .blockingForEach(Tasks::show);
    Sdk.show(Map.of("type", "id", "id", recognizer.getLastRequestId()));
    recognizer.getDuplexApi().close(1000, "bye");
  }

  static void recognitionOfFile(String path) {
    String sentences =
        new Recognition().call(recognized("paraformer-realtime-v2", "wav"), new File(path));
    System.out.println(sentences);
  }

  private static TranslationRecognizerParam translated(String model) {
    return TranslationRecognizerParam.builder()
        .model(model)
        .apiKey("sk-peer")
        .format("pcm")
        .sampleRate(16000)
        .sourceLanguage("zh")
        .transcriptionEnabled(true)
        .translationEnabled(true)
        .translationLanguages(new String[] {"en"})
        .build();
  }

  private static final class Translations extends Sdk.Results<TranslationRecognizerResult> {
    @Override
    public void onEvent(TranslationRecognizerResult result) {
      if (result.isSentenceEnd()) {
        String english = result.getTranslationResult().getTranslation("en").getText();
        String said = result.getTranscriptionResult().getText();
        Sdk.show(Map.of("type", "sentence", "text", said, "en", english));
      }
    }
  }

  static void translation() throws Exception {
    TranslationRecognizerRealtime recognizer = new TranslationRecognizerRealtime();
    Translations translations = new Translations();
    recognizer.call(translated("gummy-realtime-v1"), translations);
    for (ByteBuffer frame : twoSentences()) {
      recognizer.sendAudioFrame(frame);
    }
    recognizer.stop();
    Sdk.await(translations.ended);
  }

  static void translationChat() throws Exception {
    TranslationRecognizerChat recognizer = new TranslationRecognizerChat();
    Translations translations = new Translations();
    recognizer.call(translated("gummy-chat-v1"), translations);
    for (ByteBuffer frame : twoSentences()) {
      if (!recognizer.sendAudioFrame(frame)) {
        break;
      }
    }
    recognizer.stop();
    Sdk.await(translations.ended);
  }

  private static SpeechSynthesisParam voiced(String voice, SpeechSynthesisAudioFormat format) {
    return SpeechSynthesisParam.builder()
        .model("cosyvoice-v2")
        .apiKey("sk-peer")
        .voice(voice)
        .format(format)
        .build();
  }

  private static void showAudio(ByteBuffer audio) {
    byte[] bytes = new byte[audio.remaining()];
    audio.duplicate().get(bytes);
    String head = new String(bytes, 0, Math.min(4, bytes.length), StandardCharsets.ISO_8859_1);
    Sdk.show(Map.of("type", "audio", "bytes", bytes.length, "head", head));
  }

  private static final class Audio extends Sdk.Results<SpeechSynthesisResult> {
    @Override
    public void onEvent(SpeechSynthesisResult result) {
      if (result.getAudioFrame() != null) {
        showAudio(result.getAudioFrame());
      }
    }
  }

  static void synthesis() {
    SpeechSynthesisParam asked =
        voiced("longxiaochun_v2", SpeechSynthesisAudioFormat.WAV_16000HZ_MONO_16BIT);
    SpeechSynthesizer synthesizer = new SpeechSynthesizer(asked, null);
    showAudio(synthesizer.call("你好，世界。"));
    Sdk.show(Map.of("type", "id", "id", synthesizer.getLastRequestId()));
  }

  static void synthesisOfPieces() throws Exception {
    SpeechSynthesisParam asked =
        voiced("longxiaochun_v2", SpeechSynthesisAudioFormat.PCM_16000HZ_MONO_16BIT);
    Audio audio = new Audio();
    SpeechSynthesizer synthesizer = new SpeechSynthesizer(asked, audio);
    synthesizer.streamingCall("你好，");
    synthesizer.streamingCall("世界。");
    synthesizer.streamingComplete();
    Sdk.await(audio.ended);
    new SpeechSynthesizer(asked, null)
        .streamingCallAsFlowable(Flowable.just("你好，", "世界。"))
        .blockingForEach(audio::onEvent);
  }

  static void synthesisFailed() throws Exception {
    Audio audio = new Audio();
    SpeechSynthesisParam asked =
        SpeechSynthesisParam.builder()
            .model("no-such-model")
            .apiKey("sk-peer")
            .voice("longxiaochun_v2")
            .build();
    new SpeechSynthesizer(asked, audio).streamingCall("你好");
    Sdk.await(audio.ended);
  }

  static void refused() throws Exception {
    Sentences sentences = new Sentences();
    RecognitionParam asked =
        RecognitionParam.builder()
            .model("fun-asr-realtime")
            .apiKey("sk-bad")
            .format("pcm")
            .sampleRate(16000)
            .build();
    new Recognition().call(asked, sentences);
    Sdk.await(sentences.ended);
  }
}
