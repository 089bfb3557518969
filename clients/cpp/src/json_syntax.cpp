#include "json_syntax.h"

#include <cstddef>
#include <stdexcept>
#include <string>

namespace dashgate::detail {
namespace {

// Far more than messages have.
constexpr int kDeepest = 100;

class Checker {
 public:
  explicit Checker(std::string_view json) : json_(json) {}

  void check() {
    value();
    if (at_ < json_.size()) fail();
  }

 private:
  [[noreturn]] void fail() const {
    throw std::invalid_argument("dashgate: invalid JSON at byte " + std::to_string(at_));
  }

  // Returns the next byte, 0 at the end.
  char peek() const { return at_ < json_.size() ? json_[at_] : '\0'; }

  bool skip(char letter) {
    if (at_ >= json_.size() || json_[at_] != letter) return false;
    ++at_;
    return true;
  }

  void require(char letter) {
    if (!skip(letter)) fail();
  }

  void skip_space() {
    while (skip(' ') || skip('\n') || skip('\t') || skip('\r')) {
    }
  }

  // With the space around it.
  void value() {
    skip_space();
    switch (peek()) {
      case '{':
        items('{', '}', true);
        break;
      case '[':
        items('[', ']', false);
        break;
      case '"':
        text();
        break;
      case 't':
        word("true");
        break;
      case 'f':
        word("false");
        break;
      case 'n':
        word("null");
        break;
      default:
        number();
    }
    skip_space();
  }

  void items(char begin, char end, bool has_keys) {
    require(begin);
    if (++depth_ > kDeepest) throw std::invalid_argument("dashgate: the JSON is nested too deeply");
    skip_space();
    if (peek() != end) {
      do {
        if (has_keys) key();
        value();
      } while (skip(','));
    }
    require(end);
    --depth_;
  }

  void key() {
    skip_space();
    text();
    skip_space();
    require(':');
  }

  void text() {
    require('"');
    while (!skip('"')) {
      if (at_ >= json_.size() || static_cast<unsigned char>(json_[at_]) < ' ') fail();
      if (skip('\\')) {
        escape();
      } else {
        ++at_;
      }
    }
  }

  void escape() {
    if (skip('u')) {
      constexpr std::string_view kDigits = "0123456789abcdefABCDEF";
      for (int digit = 0; digit < 4; ++digit) {
        if (at_ >= json_.size() || kDigits.find(json_[at_]) == std::string_view::npos) fail();
        ++at_;
      }
      return;
    }
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    if (at_ >= json_.size() || kLetters.find(json_[at_]) == std::string_view::npos) fail();
    ++at_;
  }

  void word(std::string_view word) {
    for (const char letter : word) require(letter);
  }

  void number() {
    skip('-');
    if (!skip('0')) digits();
    if (skip('.')) digits();
    if (skip('e') || skip('E')) {
      if (!skip('+')) skip('-');
      digits();
    }
  }

  // One or more.
  void digits() {
    const auto is_digit = [this] { return peek() >= '0' && peek() <= '9'; };
    if (!is_digit()) fail();
    while (is_digit()) ++at_;
  }

  const std::string_view json_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

void check_syntax(std::string_view json) { Checker(json).check(); }

}  // namespace dashgate::detail
