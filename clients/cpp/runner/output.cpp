#include "output.h"

#include <dashgate/conversation.h>
#include <google/protobuf/struct.pb.h>

#include "arguments.h"
#include "city.pb.h"

namespace runner {

void play_messages(Object& call, Result& result) {
  const std::string model = call.text("model");
  google::protobuf::ListValue list;
  for (const auto& message : call.list("messages")) *list.add_values() = message;
  call.finish();
  const auto conversation = dashgate::Conversation::from_messages(model, to_json(list));
  const auto read = dashgate::Conversation::from_json(conversation.to_json());
  result.conversation = to_json(read.raw());
}

void play_structured(const dashgate::Client& client, Object& call, Result& result) {
  dashgate::Conversation conversation(call.text("model"));
  conversation.user(call.text("question"));
  dashgate::OutputOptions options;
  static_cast<dashgate::CallOptions&>(options) = read_call_options(call);
  options.repair = call.flag("repair");
  call.finish();
  const auto city = client.converse_as<City>(conversation, options);
  result.value = to_json(city.value);
  add_to(result.answers, describe(city.answer));
}

}  // namespace runner
