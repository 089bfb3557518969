// The loop of run_tools and stream_tools.
#ifndef DASHGATE_SRC_TOOL_LOOP_H_
#define DASHGATE_SRC_TOOL_LOOP_H_

#include <dashgate/answer.h>
#include <dashgate/conversation.h>
#include <dashgate/options.h>
#include <dashgate/tool.h>

#include <atomic>
#include <string>
#include <vector>

namespace dashgate::detail {

// Between two calls of the model, runs the functions that it called.
class ToolLoop {
 public:
  // Declares the tools. The conversation must outlive the loop.
  ToolLoop(Conversation& conversation, std::vector<Tool> tools, const ToolOptions& options);

  const Conversation& conversation() const noexcept { return conversation_; }

  // Returns the options of the next call.
  const CallOptions& options() const noexcept { return call_; }

  // Appends an answer and the results of the functions that it calls. Returns false if it calls
  // none. Throws Error after the last round, and what a function threw; no call of the answer stays
  // without a result.
  bool take(const Answer& answer);

  // From now on, no function is run. Thread-safe.
  void cancel() noexcept { is_cancelled_ = true; }

 private:
  bool is_cancelled() const noexcept { return is_cancelled_ || call_.cancellation.is_cancelled(); }
  std::string run(const v1::ToolCall& call) const;
  void run_in_order(const Answer& answer);
  void run_in_parallel(const Answer& answer);
  // Answers the calls from one on, whose functions are not run.
  void skip(const Answer& answer, int first);

  Conversation& conversation_;
  const std::vector<Tool> tools_;
  const int max_rounds_;
  const bool is_parallel_;
  const std::string given_id_;
  CallOptions call_;
  int round_ = 1;
  std::atomic<bool> is_cancelled_{false};
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_TOOL_LOOP_H_
