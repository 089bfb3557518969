// Variables of the environment in tests.
#ifndef DASHGATE_TESTS_VARIABLE_H_
#define DASHGATE_TESTS_VARIABLE_H_

#include <cstdlib>
#include <optional>
#include <string>

namespace tests {

// Sets a variable until the test ends.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace tests

#endif  // DASHGATE_TESTS_VARIABLE_H_
