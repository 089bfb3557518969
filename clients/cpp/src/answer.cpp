#include <dashgate/answer.h>

#include <utility>

#include "json.h"

namespace dashgate {

Answer::Answer(v1::ConverseResponse raw, Metadata headers)
    : raw_(std::move(raw)), headers_(std::move(headers)) {}

const v1::Choice& Answer::first() const noexcept {
  for (const v1::Choice& choice : raw_.choices()) {
    if (choice.index() == 0) return choice;
  }
  return v1::Choice::default_instance();
}

std::string Answer::text() const {
  std::string text;
  for (const v1::Content& part : message().content()) text += part.text();
  return text;
}

std::string Answer::audio() const {
  std::string bytes;
  for (const v1::Content& part : message().content()) bytes += part.audio().data();
  return bytes;
}

std::string Answer::to_json() const { return detail::to_json(raw_); }

}  // namespace dashgate
