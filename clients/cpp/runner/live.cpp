#include "live.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "arguments.h"

namespace runner {
namespace {

using google::protobuf::Value;
namespace v1 = dashgate::v1;

constexpr std::size_t kPieceBytes = 3200;  // 100 ms

// One step: the name of its only key, and its object.
struct Step {
  explicit Step(const Value& value) : object(as_object(value, "step")) {
    const auto& fields = value.struct_value().fields();
    if (fields.size() != 1) throw Fault("a step has one key");
    name = fields.begin()->first;
  }

  std::string text() { return object.text(name); }
  Object arguments() {
    std::optional<Object> arguments = object.optional_object(name);
    if (!arguments) throw Fault("step " + name + " has no object");
    return *std::move(arguments);
  }
  // Ends a step without arguments.
  void finish() { arguments().finish(); }

  std::string name;
  Object object;
};

dashgate::SessionOptions read_session_options(Object& call) {
  dashgate::SessionOptions options;
  options.timeout = optional_span(call, "timeout_ms");
  options.metadata = metadata_of(call);
  return options;
}

std::string kind_of(const google::protobuf::Message& event) {
  const auto* oneof = event.GetDescriptor()->FindOneofByName("event");
  const auto* field = event.GetReflection()->GetOneofFieldDescriptor(event, oneof);
  return field == nullptr ? std::string() : std::string(field->name());
}

// Reads up to an event of a kind, or to the end of the session.
template <class Session, class Note>
void read_until(Session& session, const std::optional<std::string>& last, const Note& note) {
  for (const auto& event : session) {
    note(event);
    if (kind_of(event) == last) return;
  }
}

// The steps that both kinds of sessions have. Returns whether it is one of them.
template <class Session, class Note>
bool take_common(Session& session, Step& step, const Note& note) {
  if (step.name == "text") {
    session.send_text(step.text());
  } else if (step.name == "await") {
    read_until(session, step.text(), note);
  } else if (step.name == "commit") {
    step.finish();
    session.commit();
  } else if (step.name == "clear") {
    step.finish();
    session.clear();
  } else if (step.name == "close") {
    step.finish();
    session.close();
  } else if (step.name == "finish") {
    step.finish();
    session.finish();
  } else {
    return false;
  }
  return true;
}

void send_audio(dashgate::LiveSession& session, const std::string& audio) {
  std::string_view rest = audio;
  while (!rest.empty()) {
    session.send_audio(rest.substr(0, kPieceBytes));
    rest.remove_prefix(std::min(kPieceBytes, rest.size()));
  }
}

void create_response(dashgate::LiveSession& session, Object arguments) {
  std::vector<std::string> modalities;
  for (const Value& value : arguments.list("modalities")) {
    modalities.push_back(value.string_value());
  }
  session.create_response(arguments.optional_text("instructions").value_or(""), modalities);
  arguments.finish();
}

// The steps of conversations. Returns whether it is one of them.
bool take_live(dashgate::LiveSession& session, Step& step, const std::string& last_tool_call) {
  if (step.name == "audio_file") {
    send_audio(session, read(step.text()));
  } else if (step.name == "image_file") {
    session.send_image(read(step.text()));
  } else if (step.name == "create_response") {
    create_response(session, step.arguments());
  } else if (step.name == "cancel_response") {
    step.finish();
    session.cancel_response();
  } else if (step.name == "tool_result") {
    Object arguments = step.arguments();
    session.send_tool_result(arguments.optional_text("tool_call_id").value_or(last_tool_call),
                             arguments.text("output"));
    arguments.finish();
  } else if (step.name == "update") {
    v1::UpdateSession update;
    step.object.message(step.name, update);
    session.update(update);
  } else if (step.name == "delete_item") {
    Object arguments = step.arguments();
    session.delete_item(arguments.text("item_id"));
    arguments.finish();
  } else {
    return false;
  }
  return true;
}

// Continues a session on another stream, which takes it over.
dashgate::LiveSession take_over(const dashgate::Client& client,
                                const dashgate::LiveSession& session) {
  const auto resumption = session.resumption();
  if (!resumption) throw Fault("there is nothing to take over yet");
  v1::LiveSetup setup;
  *setup.mutable_resume() = *resumption;
  dashgate::LiveSession other = client.live(setup);
  other.next();
  return other;
}

}  // namespace

void play_live(const dashgate::Client& client, Object& call, Result& result) {
  v1::LiveSetup setup;
  call.message("setup", setup);
  const std::vector<Value> steps = call.list("steps");
  const dashgate::SessionOptions options = read_session_options(call);
  call.finish();
  result.live.emplace();
  std::string last_tool_call;
  const auto note = [&](const v1::ConverseLiveResponse& event) {
    add_to(result.live, to_json(event));
    const std::string& id = event.response_delta().tool_call().id();
    if (!id.empty()) last_tool_call = id;
  };
  dashgate::LiveSession session = client.live(setup, options);
  std::vector<dashgate::LiveSession> others;
  for (const Value& value : steps) {
    Step step(value);
    if (step.name == "take_over") {
      step.finish();
      others.push_back(take_over(client, session));
    } else if (!take_common(session, step, note) && !take_live(session, step, last_tool_call)) {
      throw Fault("unknown step: " + step.name);
    }
  }
  read_until(session, std::nullopt, note);
}

void play_speech(const dashgate::Client& client, Object& call, Result& result) {
  v1::SynthesisSetup setup;
  call.message("setup", setup);
  const std::vector<Value> steps = call.list("steps");
  const dashgate::SessionOptions options = read_session_options(call);
  call.finish();
  result.speech.emplace();
  const auto note = [&](const v1::SynthesizeLiveResponse& event) {
    add_to(result.speech, to_json(event));
  };
  dashgate::SpeechSession session = client.speak(setup, options);
  for (const Value& value : steps) {
    Step step(value);
    if (!take_common(session, step, note)) throw Fault("unknown step: " + step.name);
  }
  read_until(session, std::nullopt, note);
}

}  // namespace runner
