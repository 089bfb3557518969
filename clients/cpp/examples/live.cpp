// Talks to a model with a recording, and has a text spoken: live RECORDING.
#include <dashgate/dashgate.h>

#include <cstddef>
#include <exception>
#include <fstream>
#include <future>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>

namespace {

constexpr std::size_t kPieceBytes = 3200;   // 100 ms of 16-bit PCM at 16 kHz
constexpr std::size_t kHeaderBytes = 44;    // of a WAV file
constexpr std::size_t kSilencePieces = 12;  // which end the turn

std::string read_audio(const char* path) {
  std::ifstream file(path, std::ios::binary);
  file.exceptions(std::ios::badbit);
  file.ignore(kHeaderBytes);
  std::string audio{std::istreambuf_iterator<char>(file), {}};
  audio.append(kSilencePieces * kPieceBytes, '\0');
  return audio;
}

std::string talk(const dashgate::Client& client, std::string_view audio) {
  std::string speech;
  // region live
  dashgate::LiveSession session = client.live("qwen3-omni-flash-realtime");
  // The reader gets the errors of the sender, too.
  const auto microphone = std::async(std::launch::async, [&] {
    // 16-bit PCM at 16 kHz, usually from a microphone.
    for (std::size_t at = 0; at < audio.size(); at += kPieceBytes) {
      session.send_audio(audio.substr(at, kPieceBytes));
    }
    session.finish();
  });
  using Event = dashgate::v1::ConverseLiveResponse;
  for (const Event& event : session) {
    switch (event.event_case()) {
      case Event::kSpeechStarted:  // Stop playing: the running answer is cancelled.
        break;
      case Event::kInputTranscript:
        if (event.input_transcript().final()) {
          std::cout << "You: " << event.input_transcript().text() << '\n';
        }
        break;
      case Event::kResponseStarted:
        std::cout << "Model: ";
        break;
      case Event::kResponseDelta:
        std::cout << event.response_delta().transcript() << std::flush;
        speech += event.response_delta().audio();  // PCM at 24 kHz: play it.
        break;
      case Event::kResponseCompleted:
        std::cout << '\n';
        break;
      default:
        break;
    }
  }
  // endregion
  return speech;
}

std::string speak(const dashgate::Client& client) {
  std::string speech;
  // region speak
  dashgate::v1::SynthesisSetup setup;
  setup.set_model("qwen3-tts-flash-realtime");
  setup.set_voice("Cherry");
  dashgate::SpeechSession session = client.speak(setup);
  for (const char* text : {"The text is spoken ", "while it is written."}) {
    session.send_text(text);
  }
  session.finish();
  for (const std::string& audio : session.audio()) speech += audio;
  // endregion
  return speech;
}

}  // namespace

int main(int count, char** arguments) try {
  if (count < 2) {
    std::cerr << "usage: live RECORDING\n";
    return 2;
  }
  const dashgate::Client client;
  std::cout << talk(client, read_audio(arguments[1])).size() << " bytes of speech\n";
  std::cout << speak(client).size() << " bytes of speech\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
