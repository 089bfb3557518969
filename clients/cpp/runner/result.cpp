#include "result.h"

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

#include "json.h"

namespace runner {
namespace {

namespace v1 = dashgate::v1;

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffU;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
  }
  return ~crc;
}

// An object with a text for each name; the values of a name are joined.
std::string describe_headers(const dashgate::Metadata& headers) {
  std::map<std::string, std::string> joined;
  for (const auto& [name, value] : headers) {
    std::string& text = joined[name];
    text += (text.empty() ? "" : ", ") + value;
  }
  ObjectText text;
  for (const auto& [name, value] : joined) text.add(name, quote(value));
  return text.text();
}

}  // namespace

std::string describe(const dashgate::Answer& answer, bool with_headers) {
  const std::string audio = answer.audio();
  const std::string reason(v1::FinishReason_Name(answer.finish_reason()));
  std::vector<std::string> calls;
  for (const v1::ToolCall& call : answer.tool_calls()) calls.push_back(to_json(call));
  ObjectText text;
  text.add("text", quote(answer.text()));
  text.add("reasoning_text", quote(answer.reasoning_text()));
  text.add("finish_reason",
           reason.empty() ? std::to_string(answer.finish_reason()) : quote(reason));
  text.add("raw_finish_reason", quote(answer.raw_finish_reason()));
  text.add("audio_bytes", std::to_string(audio.size()));
  text.add("audio_crc32", std::to_string(crc32(audio)));
  text.add("tool_calls", to_json(calls));
  text.add("request_id", quote(answer.request_id()));
  text.add("upstream_request_id", quote(answer.upstream_request_id()));
  text.add("model", quote(answer.model()));
  text.add("usage", to_json(answer.usage()));
  text.add("message", to_json(answer.message()));
  text.add("raw", to_json(answer.raw()));
  if (with_headers) text.add("headers", describe_headers(answer.headers()));
  return text.text();
}

std::string describe(const dashgate::Error& error) {
  ObjectText text;
  const auto add = [&text](std::string_view key, const std::string& value) {
    if (!value.empty()) text.add(key, quote(value));
  };
  add("code", error.code_name());
  if (error.reason() != v1::ERROR_REASON_UNSPECIFIED) {
    add("reason", std::string(v1::ErrorReason_Name(error.reason())));
  }
  add("raw_reason", error.raw_reason());
  text.add("output_started", error.output_started() ? "true" : "false");
  text.add("retryable", error.retryable() ? "true" : "false");
  if (!error.headers().empty()) text.add("headers", describe_headers(error.headers()));
  if (error.usage()) text.add("usage", to_json(*error.usage()));
  add("model", error.model());
  add("message", error.message());
  add("upstream_code", error.upstream_code());
  add("upstream_request_id", error.upstream_request_id());
  add("request_id", error.request_id());
  if (error.upstream_http_status()) {
    text.add("upstream_http_status", std::to_string(*error.upstream_http_status()));
  }
  if (error.attempts()) text.add("attempts", std::to_string(*error.attempts()));
  if (error.retry_after()) {
    text.add("retry_after_ms", std::to_string(error.retry_after()->count()));
  }
  std::vector<std::string> violations;
  for (const dashgate::FieldViolation& violation : error.field_violations()) {
    ObjectText one;
    one.add("field", quote(violation.field));
    one.add("description", quote(violation.description));
    violations.push_back(one.text());
  }
  if (!violations.empty()) text.add("field_violations", to_json(violations));
  return text.text();
}

std::string Result::text(std::chrono::milliseconds elapsed) const {
  ObjectText text;
  const auto add = [&text](const char* key, const std::optional<std::vector<std::string>>& list) {
    if (list) text.add(key, to_json(*list));
  };
  add("answers", answers);
  add("events", events);
  add("deltas", deltas);
  add("tool_calls", tool_calls);
  add("live", live);
  add("speech", speech);
  add("uploads", uploads);
  add("models", models);
  add("mime_types", mime_types);
  add("stored", stored);
  if (last_turn) text.add("last_turn", std::to_string(*last_turn));
  if (!value.empty()) text.add("value", value);
  if (!partial.empty()) text.add("partial", partial);
  if (!conversation.empty()) text.add("conversation", conversation);
  if (!error.empty()) text.add("error", error);
  text.add("elapsed_ms", std::to_string(elapsed.count()));
  return text.text();
}

void add_to(std::optional<std::vector<std::string>>& list, std::string item) {
  if (!list) list.emplace();
  list->push_back(std::move(item));
}

}  // namespace runner
