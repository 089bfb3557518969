// A conversation as a value to which messages are appended.
#ifndef DASHGATE_CONVERSATION_H_
#define DASHGATE_CONVERSATION_H_

#include <dashgate/answer.h>
#include <dashgate/content.h>
#include <dashgate/v1/conversation.pb.h>

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace dashgate {

// A conversation: the messages and the tools that the model may call. The gateway stores no
// conversations: each call sends all of it.
//
//   dashgate::Conversation conversation("qwen-audio-turbo");
//   conversation.user(dashgate::audio("sentence.wav"), "What is said in this audio?");
class Conversation {
 public:
  explicit Conversation(std::string model, std::string system = {});
  explicit Conversation(v1::Conversation raw);

  // Appends a user message. A part is the result of a content function, a vector of these, or a
  // string.
  template <class... Parts>
  Conversation& user(Parts&&... parts) {
    return add(v1::ROLE_USER, collect(std::forward<Parts>(parts)...));
  }
  // Appends an assistant message, for example as a sample.
  template <class... Parts>
  Conversation& assistant(Parts&&... parts) {
    return add(v1::ROLE_ASSISTANT, collect(std::forward<Parts>(parts)...));
  }
  // Appends an answer of the model.
  Conversation& append(const Answer& answer);
  // Appends the result of a tool call.
  Conversation& tool_result(const v1::ToolCall& call, std::string text);

  // Declares a function that the model may call; its parameters are a JSON Schema. A declared
  // function of the same name is replaced.
  Conversation& declare_tool(std::string name, std::string description, std::string parameters);
  // Sets whether the model must, may or must not call a tool; or the one function that it must
  // call.
  Conversation& tool_choice(v1::ToolChoiceMode mode);
  Conversation& tool_choice(std::string function_name);

  const v1::Conversation& raw() const noexcept { return raw_; }
  v1::Conversation& raw() noexcept { return raw_; }

 private:
  using Contents = std::vector<v1::Content>;

  template <class... Parts>
  static Contents collect(Parts&&... parts) {
    Contents contents;
    (collect_one(contents, std::forward<Parts>(parts)), ...);
    return contents;
  }
  template <class Part>
  static void collect_one(Contents& contents, Part&& part) {
    using Plain = std::decay_t<Part>;
    if constexpr (std::is_same_v<Plain, v1::Content>) {
      contents.push_back(std::forward<Part>(part));
    } else if constexpr (std::is_same_v<Plain, Contents>) {
      contents.insert(contents.end(), part.begin(), part.end());
    } else {
      static_assert(std::is_constructible_v<std::string, Part>,
                    "a part is a dashgate::v1::Content, a vector of them, or a string");
      contents.push_back(text(std::string(std::forward<Part>(part))));
    }
  }
  Conversation& add(v1::Role role, Contents contents);

  v1::Conversation raw_;
};

}  // namespace dashgate

#endif  // DASHGATE_CONVERSATION_H_
