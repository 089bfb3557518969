#include "stored.h"

#include <utility>
#include <vector>

#include "arguments.h"

namespace runner {
namespace {

dashgate::ConversationValues read_values(Object& step) {
  dashgate::ConversationValues values;
  values.model = step.optional_text("model");
  if (step.has("labels")) {
    const auto labels = step.texts("labels");
    values.labels.emplace(labels.begin(), labels.end());
  }
  if (const auto seconds = step.optional_integer("ttl_seconds")) {
    values.ttl = std::chrono::seconds(*seconds);
  }
  return values;
}

template <class Message>
std::string list_json(const std::vector<Message>& messages) {
  std::vector<std::string> items;
  for (const Message& message : messages) items.push_back(to_json(message));
  return to_json(items);
}

// One step: its arguments, and the key and the JSON of its result.
struct ManagementStep {
  const dashgate::Client& client;
  Object& arguments;
  using Outcome = std::pair<const char*, std::string>;

  Outcome create() const {
    const std::string id = arguments.optional_text("id").value_or("");
    return {"conversation", to_json(client.create_conversation(id, read_values(arguments)))};
  }
  Outcome list() const {
    dashgate::ListOptions options;
    options.page_size = optional_int(arguments, "page_size").value_or(0);
    return {"conversations", list_json(client.list_conversations(options))};
  }
  Outcome update() const {
    const std::string name = arguments.text("name");
    return {"conversation", to_json(client.update_conversation(name, read_values(arguments)))};
  }
  Outcome turns() const {
    dashgate::TurnOptions options;
    options.newest_first = arguments.flag("newest_first");
    options.include_media = arguments.flag("include_media");
    options.page_size = optional_int(arguments, "page_size").value_or(0);
    return {"turns", list_json(client.list_turns(arguments.text("name"), options))};
  }
  Outcome fork() const {
    const std::string name = arguments.text("name");
    const std::string id = arguments.optional_text("id").value_or("");
    return {"conversation",
            to_json(client.fork_conversation(name, optional_int(arguments, "last_turn"), id))};
  }
  Outcome cancel_turn() const {
    const std::string name = arguments.text("name");
    const std::string id = arguments.optional_text("request_id").value_or("");
    return {"cancelled", quote(client.cancel_turn(name, id).request_id())};
  }
  Outcome converse() const {
    const dashgate::Conversation conversation = read_conversation(arguments);
    return {"answer", describe(client.converse(conversation, read_call_options(arguments)))};
  }

  Outcome play(const std::string& what) const {
    if (what == "create") return create();
    if (what == "list") return list();
    if (what == "update") return update();
    if (what == "turns") return turns();
    if (what == "fork") return fork();
    if (what == "cancel_turn") return cancel_turn();
    if (what == "converse") return converse();
    const std::string name = arguments.text("name");
    if (what == "get") return {"conversation", to_json(client.get_conversation(name))};
    if (what == "delete") {
      client.delete_conversation(name);
    } else if (what == "delete_turn") {
      client.delete_turn(name);
    } else {
      throw Fault("unknown step: " + what);
    }
    return {"deleted", "true"};
  }
};

}  // namespace

void play_stored(const dashgate::Client& client, Object& call, Result& result) {
  const auto steps = call.list("steps");
  call.finish();
  for (const auto& value : steps) {
    Object step = as_object(value, "step");
    const auto& fields = value.struct_value().fields();
    if (fields.size() != 1) throw Fault("a step has one key");
    const std::string what = fields.begin()->first;
    std::optional<Object> arguments = step.optional_object(what);
    if (!arguments) throw Fault("step " + what + " has no object");
    const auto [key, json] = ManagementStep{client, *arguments}.play(what);
    arguments->finish();
    ObjectText text;
    text.add(key, json);
    add_to(result.stored, text.text());
  }
}

void create(const dashgate::Client& client, const std::string& name, const std::string& model) {
  dashgate::ConversationValues values;
  values.model = model;
  client.create_conversation(name.substr(name.find('/') + 1), values);
}

}  // namespace runner
