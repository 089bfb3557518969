// Prints a streamed answer, and cancels a call: stream [QUESTION].
#include <dashgate/dashgate.h>

#include <chrono>
#include <exception>
#include <future>
#include <iostream>

namespace {

using namespace std::chrono_literals;

void print_texts(const dashgate::Client& client, const dashgate::Conversation& conversation) {
  // region stream
  dashgate::Stream stream = client.stream(conversation);
  for (const std::string& text : stream.text_deltas()) std::cout << text << std::flush;
  const dashgate::Answer answer = stream.final_answer();  // the accumulated answer
  std::cout << '\n' << answer.usage().output_tokens() << " tokens out\n";
  // endregion
}

void print_events(const dashgate::Client& client, const dashgate::Conversation& conversation) {
  // region events
  for (const auto& event : client.stream(conversation)) {
    if (event.has_started()) std::cout << event.started().model() << ": ";
    if (event.delta().has_text()) std::cout << event.delta().text() << std::flush;
    if (event.has_completed()) std::cout << '\n';
  }
  // endregion
}

void account_for_failure(const dashgate::Client& client,
                         const dashgate::Conversation& conversation) {
  // region failed
  try {
    client.stream(conversation).final_answer();
  } catch (const dashgate::Error& error) {
    if (error.usage()) {  // billed even though the answer is incomplete
      std::cerr << error.raw_reason() << ": " << error.usage()->output_tokens() << " tokens out\n";
    }
    if (error.reason() == dashgate::v1::CONTENT_BLOCKED) {
      std::cerr << "DashScope blocked the answer\n";
    }
  }
  // endregion
}

void keep_what_came(const dashgate::Client& client, const dashgate::Conversation& conversation) {
  // region partial
  dashgate::Stream stream = client.stream(conversation);
  try {
    for (const std::string& text : stream.text_deltas()) std::cout << text << std::flush;
  } catch (const dashgate::Error&) {
    if (const auto partial = stream.partial()) std::cerr << partial->text() << " ...\n";
  }
  // endregion
}

void cancel_early(const dashgate::Client& client, const dashgate::Conversation& conversation) {
  // region cancel
  dashgate::CancellationSource source;
  dashgate::CallOptions options;
  options.timeout = 30s;                  // the whole call, with retries
  options.cancellation = source.token();  // may be shared by calls
  auto answer =
      std::async(std::launch::async, [&] { return client.converse(conversation, options); });
  if (answer.wait_for(5s) == std::future_status::timeout) source.cancel();
  std::cout << answer.get().text() << '\n';  // or throws Error, code CANCELLED
  // endregion
}

}  // namespace

int main(int count, char** arguments) try {
  const dashgate::Client client;
  dashgate::Conversation conversation("qwen-audio-turbo");
  conversation.user(count > 1 ? arguments[1] : "Describe a harbour in the morning.");
  print_texts(client, conversation);
  print_events(client, conversation);
  account_for_failure(client, conversation);
  keep_what_came(client, conversation);
  cancel_early(client, conversation);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
