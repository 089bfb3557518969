// A conversation as a value to which messages are appended.
#ifndef DASHGATE_CONVERSATION_H_
#define DASHGATE_CONVERSATION_H_

#include <dashgate/answer.h>
#include <dashgate/content.h>
#include <dashgate/v1/conversation.pb.h>
#include <google/protobuf/struct.pb.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace dashgate {

/// A conversation: the messages and the tools that the model may call. Each call sends all of it.
///
///     dashgate::Conversation conversation("qwen-audio-turbo");
///     conversation.user(dashgate::audio("sentence.wav"), "What is said in this audio?");
///
/// A gateway with a store keeps conversations. One with a name has the new messages only: the
/// gateway sends the stored history before them, and stores them with the answer.
///
///     dashgate::Conversation stored("qwen-audio-turbo", "", "conversations/harbour");
class Conversation {
 public:
  /// Starts a conversation. With a name, `conversations/{id}`, it is a stored one, and the model
  /// may be empty: the default is that of the stored conversation.
  explicit Conversation(std::string model, std::string system = {}, std::string name = {});
  /// Continues a conversation of the schema.
  explicit Conversation(v1::Conversation raw);

  /// Makes a conversation of a list of messages in the form of OpenAI's chat completions or of
  /// DashScope, which is a JSON text. Throws std::invalid_argument, which names the place of what
  /// is unknown or invalid. Paths are refused, because the list may come from somewhere else.
  static Conversation from_messages(std::string model, std::string_view messages);
  /// Makes a conversation of a list of messages that is parsed already.
  static Conversation from_messages(std::string model, const google::protobuf::ListValue& messages);

  /// Reads a conversation in the JSON form of the schema. Throws std::invalid_argument if it is
  /// invalid.
  static Conversation from_json(std::string_view json);
  /// Returns the conversation in the JSON form of the schema.
  std::string to_json() const;

  /// Appends a user message. A part is the result of a content function, a vector of these, or a
  /// string.
  template <class... Parts>
  Conversation& user(Parts&&... parts) {
    return add(v1::ROLE_USER, collect(std::forward<Parts>(parts)...));
  }
  /// Appends an assistant message, for example as a sample.
  template <class... Parts>
  Conversation& assistant(Parts&&... parts) {
    return add(v1::ROLE_ASSISTANT, collect(std::forward<Parts>(parts)...));
  }
  /// Appends an answer of the model. In a stored conversation, removes the messages instead, which
  /// the gateway has stored with the answer, and sets last_turn().
  Conversation& append(const Answer& answer);
  /// Appends the result of a tool call.
  Conversation& tool_result(const v1::ToolCall& call, std::string text);

  /// Declares a function that the model may call; its parameters are a JSON Schema. A declared
  /// function of the same name is replaced.
  Conversation& declare_tool(std::string name, std::string description, std::string parameters);
  /// Sets whether the model must, may or must not call a tool.
  Conversation& tool_choice(v1::ToolChoiceMode mode);
  /// Sets the one function that the model must call.
  Conversation& tool_choice(std::string function_name);

  /// Returns the number of the latest turn of a stored conversation that this process knows. The
  /// next call fails with STALE_CONVERSATION if there is a later one. 0: none.
  int last_turn() const noexcept { return raw_.last_turn(); }

  /// Returns the message of the schema.
  const v1::Conversation& raw() const noexcept { return raw_; }
  /// Returns the message of the schema, to be changed.
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
