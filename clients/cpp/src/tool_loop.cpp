#include "tool_loop.h"

#include <dashgate/error.h>

#include <exception>
#include <future>
#include <utility>

#include "call.h"
#include "json.h"

namespace dashgate::detail {
namespace {

// The results of functions that brought none.
constexpr const char* kFailed = R"({"error":"the function failed"})";
constexpr const char* kNotRun = R"({"error":"the function was not run"})";

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
    if (tool.name == call.name()) return tool.function(call.arguments());
  }
  return error_result("there is no tool " + call.name());
}

void ToolLoop::run_in_order(const Answer& answer) {
  for (int at = 0; at < answer.tool_calls().size(); ++at) {
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
  std::vector<std::future<std::string>> results;
  for (const v1::ToolCall& call : answer.tool_calls()) {
    // Without a thread, it runs when its result is needed.
    results.push_back(std::async(std::launch::async | std::launch::deferred,
                                 [this, &call] { return run(call); }));
  }
  std::exception_ptr first;
  for (int at = 0; at < answer.tool_calls().size(); ++at) {
    std::string result = kFailed;
    try {
      result = results[static_cast<std::size_t>(at)].get();
    } catch (...) {
      if (!first) first = std::current_exception();
    }
    conversation_.tool_result(answer.tool_calls()[at], std::move(result));
  }
  if (first) std::rethrow_exception(first);
}

void ToolLoop::skip(const Answer& answer, int first) {
  for (int at = first; at < answer.tool_calls().size(); ++at) {
    conversation_.tool_result(answer.tool_calls()[at], kNotRun);
  }
}

}  // namespace dashgate::detail
