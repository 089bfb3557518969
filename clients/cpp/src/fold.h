// What the events of a stream add up to.
#ifndef DASHGATE_SRC_FOLD_H_
#define DASHGATE_SRC_FOLD_H_

#include <dashgate/v1/conversation_service.pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dashgate::detail {

// Adds events up as the gateway does for a whole answer, so that both ways give the same message.
class Fold {
 public:
  void add(const v1::ConverseStreamResponse& event);

  // Whether the last event came. Without it the answer is not whole.
  bool completed() const noexcept { return completed_; }

  // Whether a part of the answer has come.
  bool has_output() const noexcept { return has_output_; }

  // The answer.
  v1::ConverseResponse finish() const;

 private:
  // An audio part in the making.
  struct Sound {
    std::string bytes;
    std::optional<v1::AudioFile> file;
  };

  // One choice in the making. What is told apart by an index, or must come last, waits here.
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
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_FOLD_H_
