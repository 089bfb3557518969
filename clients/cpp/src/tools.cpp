// Tools.
#include <dashgate/client.h>
#include <dashgate/error.h>

#include <exception>
#include <mutex>
#include <utility>

#include "call.h"
#include "client_impl.h"
#include "tool_loop.h"

namespace dashgate {

// The loop, and the stream of its round.
struct ToolStream::State {
  State(Client::Impl& to, Conversation& conversation, std::vector<Tool> tools,
        const ToolOptions& options)
      : client(to), loop(conversation, std::move(tools), options) {}

  // Opens the stream of the next round.
  void open() {
    const CallOptions& options = loop.options();
    Stream next = client.stream(loop.conversation().raw(), options);
    const std::lock_guard lock(mutex);
    if (is_cancelled) next.cancel();
    stream.emplace(std::move(next));
    is_round_over = false;
  }

  std::optional<v1::ConverseStreamResponse> next() {
    while (!answer) {
      if (failure) std::rethrow_exception(failure);
      try {
        if (is_round_over) open();
        if (const auto event = stream->begin(); event != stream->end()) return *event;
        Answer of_round = stream->final_answer();
        is_round_over = true;
        if (!loop.take(of_round)) answer = std::move(of_round);
      } catch (...) {
        failure = std::current_exception();
      }
    }
    return std::nullopt;
  }

  Client::Impl& client;
  detail::ToolLoop loop;
  std::mutex mutex;              // protects what cancel() needs
  std::optional<Stream> stream;  // set before the program has the state
  bool is_cancelled = false;
  bool is_round_over = true;
  std::exception_ptr failure;
  std::optional<Answer> answer;
};

ToolStream::ToolStream(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
ToolStream::ToolStream(ToolStream&& other) noexcept = default;
ToolStream& ToolStream::operator=(ToolStream&& other) noexcept = default;
ToolStream::~ToolStream() = default;

std::optional<v1::ConverseStreamResponse> ToolStream::next() { return state_->next(); }

ToolTextDeltas ToolStream::text_deltas() { return ToolTextDeltas(state_); }

ToolTextDeltas::ToolTextDeltas(std::shared_ptr<ToolStream::State> state) noexcept
    : state_(std::move(state)) {}

std::optional<std::string> ToolTextDeltas::next() {
  while (std::optional<v1::ConverseStreamResponse> event = state_->next()) {
    if (event->delta().choice_index() == 0 && !event->delta().text().empty()) {
      return std::move(*event->mutable_delta()->mutable_text());
    }
  }
  return std::nullopt;
}

Answer ToolStream::final_answer() {
  while (state_->next()) {
  }
  return *state_->answer;
}

std::optional<Answer> ToolStream::partial() const { return state_->stream->partial(); }

const Metadata& ToolStream::headers() const noexcept { return state_->stream->headers(); }

void ToolStream::cancel() noexcept {
  state_->loop.cancel();
  const std::lock_guard lock(state_->mutex);
  state_->is_cancelled = true;
  state_->stream->cancel();
}

Answer Client::run_tools(Conversation& conversation, const std::vector<Tool>& tools,
                         const ToolOptions& options) const {
  detail::ToolLoop loop(conversation, tools, options);
  while (true) {
    Answer answer = impl_->converse(conversation.raw(), loop.options());
    if (!loop.take(answer)) return answer;
  }
}

ToolStream Client::stream_tools(Conversation& conversation, std::vector<Tool> tools,
                                const ToolOptions& options) const {
  auto state = std::make_shared<ToolStream::State>(*impl_, conversation, std::move(tools), options);
  // The call starts now, as that of stream() does.
  state->open();
  return ToolStream(std::move(state));
}

}  // namespace dashgate
