#include "arguments.h"

#include <fstream>
#include <iterator>
#include <utility>

namespace runner {

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Fault(path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<std::chrono::milliseconds> optional_span(Object& object, const std::string& key) {
  const auto number = object.optional_integer(key);
  if (!number) return std::nullopt;
  return std::chrono::milliseconds(*number);
}

dashgate::Metadata metadata_of(Object& object) {
  const auto entries = object.texts("metadata");
  return {entries.begin(), entries.end()};
}

std::optional<int> optional_int(Object& object, const std::string& key) {
  const auto number = object.optional_integer(key);
  if (!number) return std::nullopt;
  return static_cast<int>(*number);
}

dashgate::CallOptions read_call_options(Object& call) {
  dashgate::CallOptions options;
  call.message("options", options.generation);
  options.request_id = call.optional_text("request_id").value_or("");
  options.resume = !call.has("resume") || call.flag("resume");
  options.timeout = optional_span(call, "timeout_ms");
  options.metadata = metadata_of(call);
  options.max_retries = optional_int(call, "max_retries");
  options.expected_turn = optional_int(call, "expected_turn");
  if (call.has("history")) call.message("history", options.history.emplace());
  return options;
}

dashgate::Conversation read_conversation(Object& call) {
  dashgate::v1::Conversation raw;
  call.message("conversation", raw);
  return dashgate::Conversation(std::move(raw));
}

}  // namespace runner
