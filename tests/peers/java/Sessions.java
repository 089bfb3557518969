import com.alibaba.dashscope.audio.omni.OmniRealtimeCallback;
import com.alibaba.dashscope.audio.omni.OmniRealtimeConfig;
import com.alibaba.dashscope.audio.omni.OmniRealtimeConversation;
import com.alibaba.dashscope.audio.omni.OmniRealtimeModality;
import com.alibaba.dashscope.audio.omni.OmniRealtimeParam;
import com.alibaba.dashscope.audio.omni.OmniRealtimeTranscriptionParam;
import com.alibaba.dashscope.audio.omni.OmniRealtimeTranslationParam;
import com.alibaba.dashscope.audio.qwen_tts_realtime.QwenTtsRealtime;
import com.alibaba.dashscope.audio.qwen_tts_realtime.QwenTtsRealtimeAudioFormat;
import com.alibaba.dashscope.audio.qwen_tts_realtime.QwenTtsRealtimeCallback;
import com.alibaba.dashscope.audio.qwen_tts_realtime.QwenTtsRealtimeConfig;
import com.alibaba.dashscope.audio.qwen_tts_realtime.QwenTtsRealtimeParam;
import com.google.gson.JsonObject;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** The cases of realtime sessions. */
final class Sessions {
  private static final List<OmniRealtimeModality> TEXT = List.of(OmniRealtimeModality.TEXT);
  private static final List<OmniRealtimeModality> BOTH =
      List.of(OmniRealtimeModality.TEXT, OmniRealtimeModality.AUDIO);
  private static final String OMNI = "qwen3-omni-flash-realtime";

  private Sessions() {}

  /** Shows events and waits for them. */
  private static final class Events {
    private final List<String> seen = new ArrayList<>();

    private synchronized void add(JsonObject event) {
      Sdk.show(Sdk.counted(event));
      seen.add(event.get("type").getAsString());
      notifyAll();
    }

    private synchronized void closed(int code, String reason) {
      Sdk.show(Map.of("type", "closed", "code", code, "reason", String.valueOf(reason)));
      seen.add("closed");
      notifyAll();
    }

    private synchronized void until(String kind, int count) throws InterruptedException {
      long end = System.nanoTime() + Sdk.SECONDS * 1_000_000_000L;
      while (Collections.frequency(seen, kind) < count) {
        long left = (end - System.nanoTime()) / 1_000_000;
        if (left <= 0) {
          throw new IllegalStateException("no " + kind + " in " + seen);
        }
        wait(left);
      }
    }
  }

  /** A conversation, and the events of it. */
  private static final class Talk {
    private final Events events = new Events();
    private final OmniRealtimeConversation session;

    private Talk(String model) {
      OmniRealtimeParam to =
          OmniRealtimeParam.builder().model(model).apikey("sk-peer").url(Sdk.realtime).build();
      session =
          new OmniRealtimeConversation(
              to,
              new OmniRealtimeCallback() {
                @Override
                public void onEvent(JsonObject event) {
                  events.add(event);
                }

                @Override
                public void onClose(int code, String reason) {
                  events.closed(code, reason);
                }
              });
    }

    private static Talk begin(String model, OmniRealtimeConfig config) throws Exception {
      Talk talk = new Talk(model);
      talk.session.connect();
      talk.session.updateSession(config);
      return talk;
    }

    private void speak(byte[]... spoken) throws Exception {
      for (ByteBuffer frame : Sdk.frames(spoken)) {
        session.appendAudio(Sdk.base64(frame));
      }
    }
  }

  static void vadTurn() throws Exception {
    Talk talk = Talk.begin(OMNI, OmniRealtimeConfig.builder().modalities(BOTH).build());
    talk.speak(Sdk.pcm(1000, 440), Sdk.pcm(1000, 0));
    talk.events.until("response.done", 1);
    talk.session.endSession();
    talk.events.until("closed", 1);
    Sdk.show(
        Map.of(
            "type", "known",
            "session", talk.session.getSessionId(),
            "response", talk.session.getResponseId(),
            "text_ms", talk.session.getFirstTextDelay(),
            "audio_ms", talk.session.getFirstAudioDelay()));
  }

  private static OmniRealtimeConfig byHand(List<OmniRealtimeModality> modalities, String voice) {
    return OmniRealtimeConfig.builder()
        .modalities(modalities)
        .voice(voice)
        .enableTurnDetection(false)
        .build();
  }

  static void manualTurn() throws Exception {
    Talk talk = Talk.begin(OMNI, byHand(TEXT, "Cherry"));
    talk.speak(Sdk.pcm(300, 440));
    talk.session.clearAppendedAudio();
    talk.speak(Sdk.pcm(500, 440));
    talk.session.commit();
    talk.session.createResponse(null, null);
    talk.events.until("response.done", 1);
    talk.speak(Sdk.pcm(700, 440));
    talk.session.commit();
    talk.session.createResponse("Answer in one sentence.", BOTH);
    talk.events.until("response.done", 2);
    talk.session.close();
    talk.events.until("closed", 1);
  }

  static void cancel() throws Exception {
    Talk talk = Talk.begin("qwen3.5-omni-plus-realtime", byHand(BOTH, "Tina"));
    talk.speak(Sdk.pcm(500, 440));
    talk.session.commit();
    talk.session.createResponse(null, BOTH);
    talk.events.until("response.audio.delta", 1);
    talk.session.cancelResponse();
    talk.events.until("response.output_item.done", 1);
    talk.session.createResponse(null, BOTH);
    talk.events.until("response.done", 1);
    talk.session.close();
  }

  static void transcription() throws Exception {
    OmniRealtimeTranscriptionParam heard = new OmniRealtimeTranscriptionParam("pcm", 16000);
    heard.setLanguage("en");
    OmniRealtimeConfig config =
        OmniRealtimeConfig.builder()
            .modalities(TEXT)
            .enableTurnDetection(true)
            .turnDetectionType("server_vad")
            .turnDetectionThreshold(0.0f)
            .turnDetectionSilenceDurationMs(400)
            .transcriptionConfig(heard)
            .build();
    Talk talk = Talk.begin("qwen3-asr-flash-realtime", config);
    talk.speak(Sdk.pcm(1000, 440), Sdk.pcm(600, 0), Sdk.pcm(500, 440));
    talk.session.endSession();
    talk.events.until("closed", 1);
  }

  static void translation() throws Exception {
    OmniRealtimeConfig config =
        OmniRealtimeConfig.builder()
            .modalities(BOTH)
            .voice("Cherry")
            .translationConfig(OmniRealtimeTranslationParam.builder().language("en").build())
            .build();
    Talk talk = Talk.begin("qwen3-livetranslate-flash-realtime", config);
    talk.speak(Sdk.pcm(1000, 440), Sdk.pcm(1000, 0));
    talk.session.endSession();
    talk.events.until("closed", 1);
  }

  /** Speech, and the events of it. */
  private static final class Voice {
    private final Events events = new Events();
    private final QwenTtsRealtime session;

    private Voice() throws Exception {
      QwenTtsRealtimeParam to =
          QwenTtsRealtimeParam.builder()
              .model("qwen3-tts-flash-realtime")
              .apikey("sk-peer")
              .url(Sdk.realtime)
              .build();
      session =
          new QwenTtsRealtime(
              to,
              new QwenTtsRealtimeCallback() {
                @Override
                public void onEvent(JsonObject event) {
                  events.add(event);
                }

                @Override
                public void onClose(int code, String reason) {
                  events.closed(code, reason);
                }
              });
      session.connect();
    }

    private void set(String mode) {
      session.updateSession(
          QwenTtsRealtimeConfig.builder()
              .voice("Cherry")
              .mode(mode)
              .responseFormat(QwenTtsRealtimeAudioFormat.PCM_24000HZ_MONO_16BIT)
              .build());
    }
  }

  static void speech() throws Exception {
    Voice voice = new Voice();
    voice.set("server_commit");
    voice.session.appendText("你好，");
    voice.session.appendText("今天天气不错。");
    voice.session.appendText("再见");
    voice.session.finish();
    voice.events.until("closed", 1);
  }

  static void speechByCommit() throws Exception {
    Voice voice = new Voice();
    voice.set("commit");
    voice.session.appendText("不要");
    voice.session.clearAppendedText();
    voice.session.appendText("你好，");
    voice.session.commit();
    voice.events.until("response.done", 1);
    voice.session.appendText("再见");
    voice.session.commit();
    voice.events.until("response.done", 2);
    voice.session.finish();
    voice.events.until("closed", 1);
  }
}
