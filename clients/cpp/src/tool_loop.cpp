#include "tool_loop.h"

#include <dashgate/error.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "call.h"
#include "json.h"

namespace dashgate::detail {
namespace {

// The results of functions that brought none.
constexpr const char* kFailed = R"({"error":"the function failed"})";
constexpr const char* kNotRun = R"({"error":"the function was not run"})";

// How many functions of a round run at the same time.
constexpr int kMostAtOnce = 16;

std::string error_result(const std::string& why) { return "{\"error\":" + quote(why) + "}"; }

}  // namespace

std::string invalid_arguments(const std::invalid_argument& error) {
  return error_result(std::string("invalid arguments: ") + error.what());
}

ToolLoop::ToolLoop(Conversation& conversation, std::vector<Tool> tools, const ToolOptions& options)
    : conversation_(conversation),
      tools_(std::move(tools)),
      max_rounds_(options.max_rounds),
      is_parallel_(options.parallel),
      given_id_(given_id(options.request_id, options.metadata)),
      call_(options) {
  for (const Tool& tool : tools_) {
    conversation_.declare_tool(tool.name, tool.description, tool.parameters);
  }
  call_.metadata.erase("x-request-id");
  call_.request_id = given_id_;
}

bool ToolLoop::take(const Answer& answer) {
  conversation_.append(answer);
  if (answer.tool_calls().empty()) return false;
  if (round_ > max_rounds_) {
    skip(answer, 0);
    Error::Fields fields = make_error(grpc::StatusCode::FAILED_PRECONDITION,
                                      "the model still asks for tools after " +
                                          std::to_string(max_rounds_) + " rounds (max_rounds)",
                                      answer.request_id())
                               .fields();
    fields.raw_reason = "TOOL_ROUNDS";
    throw Error(std::move(fields));
  }
  if (is_parallel_) {
    run_in_parallel(answer);
  } else {
    run_in_order(answer);
  }
  ++round_;
  if (!given_id_.empty()) call_.request_id = given_id_ + "-" + std::to_string(round_);
  // From now on, the conversation has the turn.
  call_.expected_turn.reset();
  return true;
}

std::string ToolLoop::run(const v1::ToolCall& call) const {
  for (const Tool& tool : tools_) {
    // What is no UTF-8, of a file for example, would spoil the conversation.
    if (tool.name == call.name()) return repair_utf8(tool.function(call.arguments()));
  }
  return error_result("there is no tool " + call.name());
}

void ToolLoop::run_in_order(const Answer& answer) {
  for (int at = 0; at < answer.tool_calls().size(); ++at) {
    if (is_cancelled()) return skip(answer, at);
    const v1::ToolCall& call = answer.tool_calls()[at];
    std::string result;
    try {
      result = run(call);
    } catch (...) {
      conversation_.tool_result(call, kFailed);
      skip(answer, at + 1);
      throw;
    }
    conversation_.tool_result(call, std::move(result));
  }
}

void ToolLoop::run_in_parallel(const Answer& answer) {
  const int count = answer.tool_calls().size();
  std::vector<std::string> results(static_cast<std::size_t>(count), kNotRun);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(count));
  std::atomic<int> next{0};
  const auto work = [&]() noexcept {
    for (int at = next++; at < count && !is_cancelled(); at = next++) {
      const auto index = static_cast<std::size_t>(at);
      try {
        results[index] = run(answer.tool_calls()[at]);
      } catch (...) {
        errors[index] = std::current_exception();
      }
    }
  };
  std::vector<std::thread> others;
  others.reserve(kMostAtOnce);
  try {
    while (static_cast<int>(others.size()) + 1 < std::min(count, kMostAtOnce)) {
      others.emplace_back(work);
    }
  } catch (const std::exception&) {
    // There are no more threads; those that there are run all functions.
  }
  work();
  for (std::thread& other : others) other.join();
  std::exception_ptr first;
  for (int at = 0; at < count; ++at) {
    const auto index = static_cast<std::size_t>(at);
    if (errors[index] && !first) first = errors[index];
    conversation_.tool_result(answer.tool_calls()[at],
                              errors[index] ? kFailed : std::move(results[index]));
  }
  if (first) std::rethrow_exception(first);
}

void ToolLoop::skip(const Answer& answer, int first) {
  for (int at = first; at < answer.tool_calls().size(); ++at) {
    conversation_.tool_result(answer.tool_calls()[at], kNotRun);
  }
}

}  // namespace dashgate::detail
