// Accumulates the events of a stream into an answer.
#ifndef DASHGATE_SRC_FOLD_H_
#define DASHGATE_SRC_FOLD_H_

#include <dashgate/v1/conversation_service.pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dashgate::detail {

// Accumulates events as the gateway does for unary calls, so that both give the same message.
class Fold {
 public:
  void add(const v1::ConverseStreamResponse& event);

  // Returns whether the last event was received. Without it the answer is incomplete.
  bool completed() const noexcept { return completed_; }

  // Returns whether a part of the answer was received.
  bool has_output() const noexcept { return has_output_; }

  // Returns whether nothing was received, or heartbeats only.
  bool is_empty() const noexcept { return is_empty_; }

  // Returns the answer.
  v1::ConverseResponse finish() const;

 private:
  // An incomplete audio part.
  struct Sound {
    std::string bytes;
    std::optional<v1::AudioFile> file;
  };

  // An incomplete choice. Parts that have an index, or must come last, are kept here.
  struct Draft {
    v1::Choice choice;
    std::map<std::int32_t, v1::ToolCall> tool_calls;
    std::vector<Sound> sounds;
  };

  void add(const v1::Delta& delta);
  void add(const v1::Completed& completed);
  Draft& draft(std::int32_t index);
  static Sound& sound(Draft& draft, bool starts_part);
  static v1::Choice finish(const Draft& draft);

  v1::ConverseResponse response_;
  std::map<std::int32_t, Draft> drafts_;
  bool completed_ = false;
  bool has_output_ = false;
  bool is_empty_ = true;
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_FOLD_H_
