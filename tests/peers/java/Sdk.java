import com.alibaba.dashscope.common.ResultCallback;
import com.alibaba.dashscope.exception.ApiException;
import com.alibaba.dashscope.utils.Constants;
import com.alibaba.dashscope.utils.JsonUtils;
import com.google.gson.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Drives a DashScope with its official SDK, and prints what it surfaces as lines of JSON.
 *
 * <p>Arguments: the host and port, the name of a case, and what the case takes.
 */
public final class Sdk {
  static final int SECONDS = 30;

  static String realtime;

  /** A case: what it does, given the arguments that follow its name. */
  interface Case {
    void run(String[] more) throws Exception;
  }

  private static final Map<String, Case> CASES =
      Map.ofEntries(
          Map.entry("call", more -> Calls.whole()),
          Map.entry("callback", more -> Calls.callback()),
          Map.entry("growing", more -> Calls.stream(false)),
          Map.entry("parts", more -> Calls.stream(true)),
          Map.entry("stream_callback", more -> Calls.streamCallback()),
          Map.entry("upload", more -> Calls.upload(more[0])),
          Map.entry("spoken_answer", more -> Calls.spokenAnswer()),
          Map.entry("tool_call", more -> Calls.toolCall()),
          Map.entry("transcript", more -> Calls.transcript(more[0])),
          Map.entry("text_to_speech", more -> Calls.textToSpeech()),
          Map.entry("wrong_key", more -> Calls.wrongKey()),
          Map.entry("wrong_parameter", more -> Calls.wrongParameter()),
          Map.entry("unknown_model", more -> Calls.unknownModel()),
          Map.entry("vad_turn", more -> Sessions.vadTurn()),
          Map.entry("manual_turn", more -> Sessions.manualTurn()),
          Map.entry("cancel", more -> Sessions.cancel()),
          Map.entry("transcription", more -> Sessions.transcription()),
          Map.entry("translation_session", more -> Sessions.translation()),
          Map.entry("speech", more -> Sessions.speech()),
          Map.entry("speech_commit", more -> Sessions.speechByCommit()),
          Map.entry("recognition", more -> Tasks.recognition()),
          Map.entry("recognition_file", more -> Tasks.recognitionOfFile(more[0])),
          Map.entry("translation", more -> Tasks.translation()),
          Map.entry("translation_chat", more -> Tasks.translationChat()),
          Map.entry("synthesis", more -> Tasks.synthesis()),
          Map.entry("synthesis_stream", more -> Tasks.synthesisOfPieces()),
          Map.entry("synthesis_failed", more -> Tasks.synthesisFailed()),
          Map.entry("refused", more -> Tasks.refused()));

  private Sdk() {}

  public static void main(String[] arguments) {
    int code = 0;
    try {
      run(arguments);
    } catch (Exception error) {
      error.printStackTrace();
      code = 1;
    }
    // The pools of the SDK would keep the process for minutes.
    System.exit(code);
  }

  private static void run(String[] arguments) throws Exception {
    System.setOut(new PrintStream(System.out, true, StandardCharsets.UTF_8));
    String host = arguments[0];
    Constants.apiKey = "sk-peer";
    Constants.baseHttpApiUrl = "http://" + host + "/api/v1";
    Constants.baseWebsocketApiUrl = "ws://" + host + "/api-ws/v1/inference";
    realtime = "ws://" + host + "/api-ws/v1/realtime";
    CASES.get(arguments[1]).run(Arrays.copyOfRange(arguments, 2, arguments.length));
  }

  static synchronized void show(Object event) {
    System.out.println(JsonUtils.toJson(event));
  }

  /** A failure, with what the SDK knows of it. */
  static void showError(Throwable error) {
    if (error instanceof ApiException refused) {
      show(Map.of("error", refused.getStatus()));
    } else {
      show(Map.of("error", Map.of("message", error.toString())));
    }
  }

  static void await(CountDownLatch end) throws InterruptedException {
    if (!end.await(SECONDS, TimeUnit.SECONDS)) {
      throw new IllegalStateException("no end after " + SECONDS + " s");
    }
  }

  /** Shows results, and waits for the last. */
  abstract static class Results<T> extends ResultCallback<T> {
    final CountDownLatch ended = new CountDownLatch(1);

    @Override
    public void onComplete() {
      show(Map.of("type", "complete"));
      ended.countDown();
    }

    @Override
    public void onError(Exception error) {
      showError(error);
      ended.countDown();
    }
  }

  /** A tone, or silence for 0 Hz, of 16 bits at 16 kHz. */
  static byte[] pcm(int ms, int hz) {
    ByteBuffer wave = ByteBuffer.allocate(ms * 32).order(ByteOrder.LITTLE_ENDIAN);
    for (int at = 0; at < ms * 16; at++) {
      wave.putShort((short) (8000 * Math.sin(2 * Math.PI * hz * at / 16000)));
    }
    return wave.array();
  }

  /** What was spoken, in frames of 100 ms. */
  static List<ByteBuffer> frames(byte[]... spoken) throws IOException {
    ByteArrayOutputStream joined = new ByteArrayOutputStream();
    for (byte[] audio : spoken) {
      joined.write(audio);
    }
    byte[] all = joined.toByteArray();
    List<ByteBuffer> frames = new ArrayList<>();
    for (int at = 0; at < all.length; at += 3200) {
      int end = Math.min(all.length, at + 3200);
      frames.add(ByteBuffer.wrap(Arrays.copyOfRange(all, at, end)));
    }
    return frames;
  }

  static String base64(ByteBuffer frame) {
    return Base64.getEncoder().encodeToString(frame.array());
  }

  /** An event, with its audio as a number of bytes. */
  static JsonObject counted(JsonObject event) {
    JsonObject shown = event.deepCopy();
    if (shown.get("type").getAsString().equals("response.audio.delta")) {
      String delta = shown.get("delta").getAsString();
      shown.addProperty("delta", Base64.getDecoder().decode(delta).length);
    }
    return shown;
  }
}
