// Conversations from lists of messages in the form of OpenAI or DashScope.
#ifndef DASHGATE_SRC_MESSAGE_LIST_H_
#define DASHGATE_SRC_MESSAGE_LIST_H_

#include <dashgate/v1/conversation.pb.h>
#include <google/protobuf/struct.pb.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace dashgate::detail {

// Appends the messages of a list. Throws std::invalid_argument, which names the place of what is
// unknown or invalid.
void read_messages(const google::protobuf::ListValue& list, v1::Conversation& conversation);

// A value and its place in the list, for example `messages[1].content[0].type`.
class Located {
 public:
  Located(const google::protobuf::Value& value, std::string place)
      : value_(value), place_(std::move(place)) {}

  [[noreturn]] void refuse(const std::string& why) const;

  bool is_text() const;
  bool is_list() const;
  const std::string& text() const;
  // Returns an integer of 0 or more.
  int index() const;
  // Returns the items of a list.
  std::vector<Located> items() const;
  // Returns the value of a key; nothing if there is none, or null.
  std::optional<Located> find(const std::string& key) const;
  // Returns the value of a key that must be there.
  Located at(const std::string& key) const;
  // Refuses all keys but these. One whose value is null counts as absent.
  void check_keys(const std::set<std::string>& known) const;

 private:
  const google::protobuf::Value& value_;
  std::string place_;
};

// Reads a content part, in one of the two forms.
v1::Content read_part(const Located& part);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_MESSAGE_LIST_H_
