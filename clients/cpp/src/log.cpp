#include "log.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace dashgate::detail {
namespace {

// In one piece, so that lines of several threads are not mixed.
void write(std::string line) noexcept {
  line.insert(0, "dashgate: ");
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

// Returns a text that comes from elsewhere as one that cannot look like another line of the log.
std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 200;
  std::string shown;
  for (const char letter : text) {
    if (shown.size() == kMost) break;
    const bool is_shown = letter >= ' ' && letter <= '~';
    // A character of several bytes is one question mark, in place of its first byte.
    const bool continues = (static_cast<unsigned char>(letter) & 0xc0U) == 0x80U;
    if (!continues) shown += is_shown ? letter : '?';
  }
  return shown;
}

}  // namespace

LogLevel parse_log_level(const char* value) noexcept {
  const std::string_view level = value == nullptr ? "" : value;
  if (level == "info") return LogLevel::kInfo;
  return level == "debug" ? LogLevel::kDebug : LogLevel::kOff;
}

std::shared_ptr<const Log> Log::from_environment(std::string address) {
  return std::make_shared<const Log>(parse_log_level(std::getenv("DASHGATE_LOG")),
                                     std::move(address));
}

void Log::connection(std::size_t number) const noexcept {
  if (level_ != LogLevel::kDebug) return;
  write("connection " + std::to_string(number) + ", " + address_);
}

CallLog::CallLog(std::shared_ptr<const Log> log, const char* method, std::string_view request_id)
    : log_(std::move(log)),
      method_(method),
      request_id_(log_->level() == LogLevel::kOff ? std::string() : printable(request_id)) {}

CallLog::~CallLog() { end("CANCELLED"); }

void CallLog::retry(int number, std::chrono::milliseconds delay) const noexcept {
  again("retry", number, delay);
}

void CallLog::resume(int number, std::chrono::milliseconds delay) const noexcept {
  again("resume", number, delay);
}

void CallLog::succeed() noexcept { end("OK"); }

void CallLog::fail(const Error& error) noexcept {
  std::string result = error.code_name();
  if (!error.raw_reason().empty() && error.raw_reason() != result) {
    result += " " + printable(error.raw_reason());
  }
  end(result);
}

void CallLog::again(const char* what, int number, std::chrono::milliseconds delay) const noexcept {
  if (log_->level() != LogLevel::kDebug) return;
  write(std::string(method_) + " " + what + " " + std::to_string(number) + " in " +
        std::to_string(delay.count()) + " ms, request id " + request_id_ + ", " + log_->address());
}

void CallLog::end(const std::string& result) noexcept {
  if (std::exchange(has_ended_, true) || log_->level() == LogLevel::kOff) return;
  const auto span = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begun_);
  write(std::string(method_) + " " + result + " " + std::to_string(span.count()) +
        " ms, request id " + request_id_ + ", " + log_->address());
}

}  // namespace dashgate::detail
