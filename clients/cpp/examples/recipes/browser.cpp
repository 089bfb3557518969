#include "browser.h"

#include <future>
#include <memory>
#include <string>
#include <thread>

namespace recipes {
namespace {

// region event
// Writes a server-sent event; returns whether the browser is still there.
bool send_event(httplib::DataSink& sink, const std::string& name, const std::string& data) {
  std::string event = "event: " + name + "\ndata: ";
  for (const char letter : data) {
    // A line end would end the field.
    if (letter == '\n' || letter == '\r') {
      event += "\ndata: ";
    } else {
      event += letter;
    }
  }
  event += "\n\n";
  return sink.write(event.data(), event.size());
}
// endregion

// region answer
// Writes an answer while it is received, and cancels the call if the browser leaves.
bool send_answer(dashgate::Stream& stream, httplib::DataSink& sink) {
  std::promise<void> sent;
  // Also while the model writes nothing, a browser that leaves is noticed.
  std::thread watcher([&stream, &sink, is_sent = sent.get_future()] {
    while (is_sent.wait_for(std::chrono::milliseconds(200)) == std::future_status::timeout) {
      if (!sink.is_writable()) return stream.cancel();
    }
  });
  try {
    for (const std::string& text : stream.text_deltas()) {
      if (!send_event(sink, "text", text)) stream.cancel();
    }
    send_event(sink, "done", "");
  } catch (const dashgate::Error& error) {
    send_event(sink, "error", error.request_id());  // its message is for the log
  }
  sent.set_value();
  watcher.join();
  sink.done();
  return true;
}
// endregion

}  // namespace

// region endpoint
void add_answers(httplib::Server& server, const dashgate::Client& client) {
  server.Get("/answer", [&client](const httplib::Request& request, httplib::Response& response) {
    dashgate::Conversation conversation("qwen3.6-plus");
    conversation.user(request.get_param_value("q"));
    const auto stream = std::make_shared<dashgate::Stream>(client.stream(conversation));
    response.set_header("Cache-Control", "no-store");
    response.set_chunked_content_provider(
        "text/event-stream",
        [stream](std::size_t, httplib::DataSink& sink) { return send_answer(*stream, sink); });
  });
}
// endregion

}  // namespace recipes
