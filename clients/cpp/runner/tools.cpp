#include "tools.h"

#include <dashgate/error.h>

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"

namespace runner {
namespace {

// Functions that note their calls and return the results of the job.
class Functions {
 public:
  Functions(Object& call, Result& result) : results_(call.texts("results")), result_(result) {}

  std::vector<dashgate::Tool> read(const std::vector<google::protobuf::Value>& specs) {
    std::vector<dashgate::Tool> tools;
    for (const google::protobuf::Value& value : specs) {
      Object spec = as_object(value, "tool");
      const std::string name = spec.text("name");
      tools.push_back({name, spec.optional_text("description").value_or(""),
                       spec.optional_text("parameters").value_or(""),
                       [this, name](const std::string& given) { return run(name, given); }});
      spec.finish();
    }
    return tools;
  }

 private:
  std::string run(const std::string& name, const std::string& arguments) {
    ObjectText made;
    made.add("name", quote(name));
    made.add("arguments", quote(arguments));
    {
      const std::lock_guard lock(mutex_);
      add_to(result_.tool_calls, made.text());
    }
    for (const auto& [of, text] : results_) {
      if (of == name) return text;
    }
    throw Fault("results has nothing for " + name);
  }

  const std::vector<std::pair<std::string, std::string>> results_;
  Result& result_;
  std::mutex mutex_;
};

dashgate::Answer run(const dashgate::Client& client, dashgate::Conversation& conversation,
                     const std::vector<dashgate::Tool>& tools, const dashgate::ToolOptions& options,
                     bool is_streamed, Result& result) {
  if (!is_streamed) return client.run_tools(conversation, tools, options);
  result.events.emplace();
  dashgate::ToolStream stream = client.stream_tools(conversation, tools, options);
  for (const auto& event : stream) add_to(result.events, to_json(event));
  return stream.final_answer();
}

}  // namespace

void play_tools(const dashgate::Client& client, Object& call, Result& result) {
  dashgate::Conversation conversation(call.text("model"));
  conversation.user(call.text("question"));
  Functions functions(call, result);
  const std::vector<dashgate::Tool> tools = functions.read(call.list("tools"));
  dashgate::ToolOptions options;
  static_cast<dashgate::CallOptions&>(options) = read_call_options(call);
  options.max_rounds = optional_int(call, "max_rounds").value_or(options.max_rounds);
  options.parallel = call.flag("parallel");
  const bool is_streamed = call.flag("stream");
  call.finish();
  result.tool_calls.emplace();
  try {
    add_to(result.answers,
           describe(run(client, conversation, tools, options, is_streamed, result)));
  } catch (const dashgate::Error&) {
    result.conversation = to_json(conversation.raw());
    throw;
  }
  result.conversation = to_json(conversation.raw());
}

}  // namespace runner
