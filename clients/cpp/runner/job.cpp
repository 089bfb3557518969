#include "job.h"

#include <dashgate/dashgate.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

#include "arguments.h"
#include "cancel.h"
#include "contents.h"
#include "json.h"
#include "live.h"
#include "output.h"
#include "result.h"
#include "stored.h"
#include "tools.h"

namespace runner {
namespace {

using google::protobuf::Value;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
namespace v1 = dashgate::v1;

dashgate::ClientOptions read_options(Object& job) {
  dashgate::ClientOptions options;
  options.target = job.text("target");
  std::optional<Object> object = job.optional_object("options");
  if (!object) return options;
  options.api_key = object->optional_text("api_key");
  if (std::optional<Object> tls = object->optional_object("tls")) {
    options.tls = dashgate::TlsOptions::from_files(tls->optional_text("ca_file").value_or(""),
                                                   tls->optional_text("cert_file").value_or(""),
                                                   tls->optional_text("key_file").value_or(""));
    options.tls->server_name = tls->optional_text("server_name").value_or("");
    tls->finish();
  }
  options.timeout = optional_span(*object, "timeout_ms");
  options.idle_timeout = optional_span(*object, "idle_timeout_ms").value_or(options.idle_timeout);
  options.metadata = metadata_of(*object);
  options.max_retries = optional_int(*object, "max_retries").value_or(0);
  object->finish();
  return options;
}

// ---- the calls ----

// The common part of all calls: the client, options and cancellation.
struct Play {
  const dashgate::Client& client;
  Object& call;
  Result& result;

  void converse() {
    const dashgate::Conversation conversation = read_conversation(call);
    dashgate::CallOptions options = read_call_options(call);
    const Cancel cancel = Cancel::read(call);
    call.finish();
    const dashgate::CancellationSource source;
    options.cancellation = source.token();
    const CancelLater later(source, cancel.after);
    add_to(result.answers, describe(client.converse(conversation, options)));
  }

  void stream(bool by_deltas) {
    const dashgate::Conversation conversation = read_conversation(call);
    dashgate::CallOptions options = read_call_options(call);
    const Cancel cancel = Cancel::read(call);
    call.finish();
    const dashgate::CancellationSource source;
    options.cancellation = source.token();
    const CancelLater later(source, cancel.after);
    auto& items = by_deltas ? result.deltas : result.events;
    items.emplace();
    dashgate::Stream stream = client.stream(conversation, options);
    std::int64_t read = 0;
    const auto take = [&](std::string item) {
      if (!cancel.after_events || read < *cancel.after_events) items->push_back(std::move(item));
      ++read;
      if (read == cancel.after_events) stream.cancel();
    };
    if (cancel.after_events == 0) stream.cancel();
    try {
      if (by_deltas) {
        for (const std::string& text : stream.text_deltas()) take(quote(text));
      } else {
        for (const v1::ConverseStreamResponse& event : stream) take(to_json(event));
      }
      add_to(result.answers, describe(stream.final_answer()));
    } catch (const dashgate::Error&) {
      if (const auto partial = stream.partial()) result.partial = describe(*partial, false);
      throw;
    }
  }

  void dialogue() {
    const std::string model = call.text("model");
    const std::string name = call.optional_text("name").value_or("");
    dashgate::Conversation conversation(model, call.optional_text("system").value_or(""), name);
    const std::vector<Value> turns = call.list("turns");
    const bool is_streamed = call.flag("stream");
    const dashgate::CallOptions options = read_call_options(call);
    call.finish();
    const auto note_end = [&] {
      result.conversation = to_json(conversation.raw());
      if (!name.empty()) result.last_turn = conversation.last_turn();
    };
    try {
      if (!name.empty()) create(client, name, model);
      for (const Value& turn : turns) {
        const auto& specs = turn.list_value().values();
        conversation.user(read_contents({specs.begin(), specs.end()}));
        const dashgate::Answer answer = is_streamed
                                            ? client.stream(conversation, options).final_answer()
                                            : client.converse(conversation, options);
        conversation.append(answer);
        add_to(result.answers, describe(answer));
      }
    } catch (const dashgate::Error&) {
      note_end();
      throw;
    }
    note_end();
  }

  void upload() {
    const std::string model = call.text("model");
    const std::string file = call.text("file");
    dashgate::UploadOptions options;
    options.mime_type = call.optional_text("mime_type").value_or("");
    options.name = call.optional_text("name").value_or("");
    options.request_id = call.optional_text("request_id").value_or("");
    options.timeout = optional_span(call, "timeout_ms");
    options.metadata = metadata_of(call);
    const Cancel cancel = Cancel::read(call);
    const std::vector<Value> then = call.list("then");
    call.finish();
    const dashgate::CancellationSource source;
    options.cancellation = source.token();
    const CancelLater later(source, cancel.after);
    const v1::UploadMediaResponse uploaded = client.upload(model, file, options);
    add_to(result.uploads, to_json(uploaded));
    if (then.empty()) return;
    dashgate::Conversation conversation(model);
    conversation.user(read_contents(then, uploaded.uri()));
    add_to(result.answers, describe(client.converse(conversation)));
  }

  void models() {
    dashgate::ModelOptions options;
    options.page_size = static_cast<int>(call.optional_integer("page_size").value_or(0));
    call.finish();
    for (const v1::Model& model : client.list_models(options)) {
      add_to(result.models, to_json(model));
    }
  }

  void model() {
    const std::string name = call.text("name");
    call.finish();
    add_to(result.models, to_json(client.get_model(name)));
  }

  void many() {
    const std::int64_t count = call.optional_integer("count").value_or(0);
    const dashgate::Conversation conversation = read_conversation(call);
    const dashgate::CallOptions options = read_call_options(call);
    call.finish();
    result.answers.emplace();
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (std::int64_t number = 0; number < count; ++number) {
      threads.emplace_back([&] {
        try {
          const std::string answer = describe(client.stream(conversation, options).final_answer());
          const std::lock_guard lock(mutex);
          result.answers->push_back(answer);
        } catch (const dashgate::Error& error) {
          const std::lock_guard lock(mutex);
          result.error = describe(error);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  void sniff() {
    const std::vector<Value> vectors = call.list("vectors");
    call.finish();
    result.mime_types.emplace();
    for (const Value& value : vectors) {
      Object vector = as_object(value, "vector");
      const v1::Content content = dashgate::audio(dashgate::Source::file(vector.text("file")));
      vector.finish();
      result.mime_types->push_back(quote(content.audio().mime_type()));
    }
  }

  void begin() {
    const std::string what = call.text("do");
    if (what == "converse") return converse();
    if (what == "stream") return stream(false);
    if (what == "deltas") return stream(true);
    if (what == "dialogue") return dialogue();
    if (what == "tools") return play_tools(client, call, result);
    if (what == "upload") return upload();
    if (what == "models") return models();
    if (what == "model") return model();
    if (what == "cancel_call") return client.cancel_call(call.text("request_id"));
    if (what == "many") return many();
    if (what == "live") return play_live(client, call, result);
    if (what == "speak") return play_speech(client, call, result);
    if (what == "stored") return play_stored(client, call, result);
    if (what == "messages") return play_messages(call, result);
    if (what == "structured") return play_structured(client, call, result);
    if (what == "sniff") return sniff();
    throw Fault("job.call.do is not known: " + what);
  }
};

}  // namespace

std::string play(const std::string& text) {
  Object job = parse_object(text);
  std::optional<Object> call = job.optional_object("call");
  if (!call) throw Fault("job.call is missing");
  Result result;
  const Clock::time_point begun = Clock::now();
  try {
    const dashgate::ClientOptions options = read_options(job);
    job.finish();
    const dashgate::Client client(options);
    Play{client, *call, result}.begin();
  } catch (const dashgate::Error& error) {
    result.error = describe(error);
  } catch (const std::invalid_argument& refused) {
    ObjectText error;
    error.add("code", quote("INVALID_ARGUMENT"));
    error.add("message", quote(refused.what()));
    result.error = error.text();
  }
  return result.text(std::chrono::duration_cast<milliseconds>(Clock::now() - begun));
}

}  // namespace runner
