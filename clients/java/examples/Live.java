import com.google.protobuf.ByteString;
import io.dashgate.DashgateClient;
import io.dashgate.LiveSession;
import io.dashgate.SpeechSession;
import io.dashgate.v1.ConverseLiveResponse;
import io.dashgate.v1.SynthesisSetup;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/** Talks to a model with a recording, and has a text spoken: {@code live RECORDING}. */
public final class Live {
  /** 100 ms of 16-bit PCM at 16 kHz. */
  private static final int PIECE = 3200;

  /** The header of a WAV file. */
  private static final int HEADER = 44;

  private Live() {}

  /** Sends in one thread, and reads in another. */
  public static void main(String[] args) throws Exception {
    byte[] recording = Files.readAllBytes(Path.of(args[0]));
    // The silence after it ends the turn.
    byte[] audio = Arrays.copyOfRange(recording, HEADER, recording.length + 12 * PIECE);
    try (DashgateClient client = DashgateClient.create()) {
      live(client, audio);
      speak(client);
    }
  }

  private static void live(DashgateClient client, byte[] audio) throws Exception {
    ByteArrayOutputStream speech = new ByteArrayOutputStream();
    // region live
    try (LiveSession session = client.live("qwen3-omni-flash-realtime")) {
      Thread microphone =
          new Thread(
              () -> {
                // 16-bit PCM at 16 kHz, usually from a microphone.
                for (int at = 0; at < audio.length; at += PIECE) {
                  session.sendAudio(Arrays.copyOfRange(audio, at, at + PIECE));
                }
                session.finish();
              });
      microphone.start();
      for (ConverseLiveResponse event : session.events()) {
        switch (event.getEventCase()) {
          case SPEECH_STARTED: // Stop playing: the running answer is cancelled.
            break;
          case INPUT_TRANSCRIPT:
            if (event.getInputTranscript().getFinal()) {
              System.out.println("You: " + event.getInputTranscript().getText());
            }
            break;
          case RESPONSE_STARTED:
            System.out.print("Model: ");
            break;
          case RESPONSE_DELTA:
            System.out.print(event.getResponseDelta().getTranscript());
            event.getResponseDelta().getAudio().writeTo(speech); // PCM at 24 kHz: play it.
            break;
          case RESPONSE_COMPLETED:
            System.out.println();
            break;
          default:
            break;
        }
      }
      microphone.join();
    }
    // endregion
    System.out.println(speech.size() + " bytes of speech");
  }

  private static void speak(DashgateClient client) throws IOException {
    ByteArrayOutputStream speech = new ByteArrayOutputStream();
    // region speak
    SynthesisSetup setup =
        SynthesisSetup.newBuilder()
            .setModel("qwen3-tts-flash-realtime")
            .setVoice("Cherry")
            .build();
    try (SpeechSession session = client.speak(setup)) {
      for (String text : List.of("The text is spoken ", "while it is written.")) {
        session.sendText(text);
      }
      session.finish();
      for (ByteString audio : session.audio()) {
        audio.writeTo(speech);
      }
    }
    // endregion
    System.out.println(speech.size() + " bytes of speech");
  }
}
