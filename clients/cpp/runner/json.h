// JSON of jobs and results, with protobuf's JSON library.
#ifndef DASHGATE_RUNNER_JSON_H_
#define DASHGATE_RUNNER_JSON_H_

#include <google/protobuf/message.h>
#include <google/protobuf/struct.pb.h>

#include <cstdint>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace runner {

// An invalid job.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An object of a job. A key that was not read before finish() is an error.
class Object {
 public:
  Object(const google::protobuf::Struct& fields, std::string name);

  bool has(const std::string& key);
  std::string text(const std::string& key);  // throws if it is missing
  std::optional<std::string> optional_text(const std::string& key);
  std::optional<std::int64_t> optional_integer(const std::string& key);
  bool flag(const std::string& key);  // false if it is missing
  std::optional<Object> optional_object(const std::string& key);
  std::vector<google::protobuf::Value> list(const std::string& key);  // empty if it is missing
  std::vector<std::pair<std::string, std::string>> texts(const std::string& key);
  // Parses a message from its proto3 JSON; unchanged if it is missing.
  void message(const std::string& key, google::protobuf::Message& message);

  void finish() const;

 private:
  const google::protobuf::Value* find(const std::string& key,
                                      google::protobuf::Value::KindCase kind);
  [[noreturn]] void wrong(const std::string& key, const std::string& what) const;

  google::protobuf::Struct fields_;
  std::string name_;
  std::set<std::string> asked_;
};

Object parse_object(const std::string& json);
Object as_object(const google::protobuf::Value& value, const std::string& name);

// Values as JSON text.
std::string quote(std::string_view text);
std::string to_json(const google::protobuf::Message& message);
std::string to_json(const std::vector<std::string>& items);  // of JSON texts

// An incomplete object.
class ObjectText {
 public:
  void add(std::string_view key, std::string_view json);
  std::string text() const { return "{" + inside_ + "}"; }

 private:
  std::string inside_;
};

}  // namespace runner

#endif  // DASHGATE_RUNNER_JSON_H_
