#include <atomic>
#include <mutex>
#include <thread>

#include "recipes.h"

namespace recipes {

// region batch
std::vector<Transcript> transcribe(
    const dashgate::Client& client, const std::vector<std::filesystem::path>& files,
    std::size_t workers, const std::function<void(std::size_t done, std::size_t all)>& progress) {
  std::vector<Transcript> transcripts(files.size());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::size_t done = 0;
  const auto work = [&] {
    for (std::size_t at = next++; at < files.size(); at = next++) {
      Transcript& transcript = transcripts[at];
      transcript.file = files[at];
      try {
        dashgate::Conversation conversation("qwen-audio-turbo");
        conversation.user(dashgate::audio(files[at]), "Write down what is said.");
        transcript.text = client.converse(conversation).text();
      } catch (const dashgate::Error& error) {
        transcript.error = error;
      }
      const std::lock_guard lock(mutex);
      progress(++done, files.size());
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t worker = 0; worker < workers; ++worker) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  return transcripts;
}
// endregion

}  // namespace recipes
