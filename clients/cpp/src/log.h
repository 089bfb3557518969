// The log of calls, which the variable DASHGATE_LOG switches on.
#ifndef DASHGATE_SRC_LOG_H_
#define DASHGATE_SRC_LOG_H_

#include <dashgate/error.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace dashgate::detail {

enum class LogLevel { kOff, kInfo, kDebug };

// Returns the level of a value of DASHGATE_LOG.
LogLevel parse_log_level(const char* value) noexcept;

// The log of a client: lines on standard error, without content, keys or values of metadata.
class Log {
 public:
  Log(LogLevel level, std::string address) : level_(level), address_(std::move(address)) {}

  // With the level of DASHGATE_LOG.
  static std::shared_ptr<const Log> from_environment(std::string address);

  LogLevel level() const noexcept { return level_; }
  const std::string& address() const noexcept { return address_; }

  // Notes that the pool opened a connection.
  void connection(std::size_t number) const noexcept;

 private:
  const LogLevel level_;
  const std::string address_;
};

// One call in the log: a line at its end.
class CallLog {
 public:
  CallLog(std::shared_ptr<const Log> log, const char* method, std::string_view request_id);
  CallLog(const CallLog&) = delete;
  CallLog& operator=(const CallLog&) = delete;
  // A call without an end was left.
  ~CallLog();

  // Note another attempt after a delay.
  void retry(int number, std::chrono::milliseconds delay) const noexcept;
  void resume(int number, std::chrono::milliseconds delay) const noexcept;

  // Note the end of the call, once.
  void succeed() noexcept;
  void fail(const Error& error) noexcept;

 private:
  void again(const char* what, int number, std::chrono::milliseconds delay) const noexcept;
  void end(const std::string& result) noexcept;

  const std::shared_ptr<const Log> log_;
  const char* const method_;
  const std::string request_id_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  bool has_ended_ = false;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_LOG_H_
