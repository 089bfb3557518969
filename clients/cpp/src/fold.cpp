#include "fold.h"

#include <utility>

namespace dashgate::detail {
namespace {

// The MIME type of streamed audio, unless its file names another one: 16-bit little-endian mono at
// 24 kHz.
constexpr const char* kStreamedAudio = "audio/pcm";

void add_text(v1::Message& message, const std::string& text, bool starts_part) {
  if (starts_part || message.content_size() == 0 || !message.content().rbegin()->has_text()) {
    message.add_content();
  }
  message.mutable_content()->rbegin()->mutable_text()->append(text);
}

// Merges fields into a struct; a new value replaces an old one.
void merge(google::protobuf::Struct& there, const google::protobuf::Struct& extra) {
  auto& fields = *there.mutable_fields();
  for (const auto& [key, value] : extra.fields()) fields[key] = value;
}

void add_extra(v1::Message& message, const google::protobuf::Struct& extra, bool starts_part) {
  if (starts_part || message.content_size() == 0) message.add_content();
  merge(*message.mutable_content()->rbegin()->mutable_extra(), extra);
}

void add_tool_call(std::map<std::int32_t, v1::ToolCall>& calls, const v1::ToolCall& next) {
  v1::ToolCall& call = calls[next.index()];
  call.set_index(next.index());
  if (call.id().empty()) call.set_id(next.id());
  if (call.type().empty()) call.set_type(next.type());
  call.mutable_name()->append(next.name());
  call.mutable_arguments()->append(next.arguments());
  if (next.has_extra()) merge(*call.mutable_extra(), next.extra());
}

// Returns the MIME type that the gateway names because it is not that of streamed audio, or that.
std::string audio_type(const std::optional<v1::AudioFile>& file) {
  if (!file) return kStreamedAudio;
  const auto& fields = file->extra().fields();
  const auto entry = fields.find("mime_type");
  if (entry == fields.end()) return kStreamedAudio;
  const std::string& named = entry->second.string_value();
  return named.rfind("audio/", 0) == 0 ? named : kStreamedAudio;
}

}  // namespace

void Fold::add(const v1::ConverseStreamResponse& event) {
  if (!event.has_heartbeat()) is_empty_ = false;
  switch (event.event_case()) {
    case v1::ConverseStreamResponse::kStarted:
      response_.set_model(event.started().model());
      response_.set_request_id(event.started().request_id());
      response_.set_upstream_request_id(event.started().upstream_request_id());
      break;
    case v1::ConverseStreamResponse::kDelta:
      has_output_ = true;
      add(event.delta());
      break;
    case v1::ConverseStreamResponse::kCompleted:
      add(event.completed());
      break;
    case v1::ConverseStreamResponse::kHeartbeat:
    case v1::ConverseStreamResponse::EVENT_NOT_SET:  // of a newer schema
      break;
  }
}

void Fold::add(const v1::Delta& delta) {
  // A delta of a newer schema must not create a choice.
  if (delta.part_case() == v1::Delta::PART_NOT_SET) return;
  if (delta.has_search_info()) {
    *response_.mutable_search_info() = delta.search_info();
    return;
  }
  Draft& draft = this->draft(delta.choice_index());
  v1::Message& message = *draft.choice.mutable_message();
  switch (delta.part_case()) {
    case v1::Delta::kText:
      add_text(message, delta.text(), delta.starts_part());
      break;
    case v1::Delta::kReasoningText:
      message.mutable_reasoning_text()->append(delta.reasoning_text());
      break;
    case v1::Delta::kAudio:
      sound(draft, delta.starts_part()).bytes += delta.audio();
      break;
    case v1::Delta::kToolCall:
      add_tool_call(draft.tool_calls, delta.tool_call());
      break;
    case v1::Delta::kAnnotation:
      *message.add_annotations() = delta.annotation();
      break;
    case v1::Delta::kImageUri:
      message.add_content()->mutable_image()->set_uri(delta.image_uri());
      break;
    case v1::Delta::kAudioFile:
      sound(draft, delta.starts_part()).file = delta.audio_file();
      break;
    case v1::Delta::kExtra:
      add_extra(message, delta.extra(), delta.starts_part());
      break;
    case v1::Delta::kMessageExtra:
      merge(*message.mutable_extra(), delta.message_extra());
      break;
    case v1::Delta::kLogprobs:
      draft.choice.mutable_logprobs()->mutable_content()->MergeFrom(delta.logprobs().content());
      if (delta.logprobs().has_extra()) {
        merge(*draft.choice.mutable_logprobs()->mutable_extra(), delta.logprobs().extra());
      }
      break;
    case v1::Delta::kSearchInfo:
    case v1::Delta::PART_NOT_SET:
      break;
  }
}

void Fold::add(const v1::Completed& completed) {
  completed_ = true;
  for (const v1::ChoiceEnd& end : completed.choices()) {
    v1::Choice& choice = draft(end.index()).choice;
    choice.set_finish_reason(end.finish_reason());
    choice.set_raw_finish_reason(end.raw_finish_reason());
    if (end.has_extra()) *choice.mutable_extra() = end.extra();
  }
  if (completed.has_usage()) *response_.mutable_usage() = completed.usage();
  if (completed.has_timing()) *response_.mutable_timing() = completed.timing();
  if (completed.has_extra_output()) *response_.mutable_extra_output() = completed.extra_output();
  if (completed.has_extra()) *response_.mutable_extra() = completed.extra();
  if (completed.has_history_used()) *response_.mutable_history_used() = completed.history_used();
  response_.mutable_warnings()->MergeFrom(completed.warnings());
}

Fold::Draft& Fold::draft(std::int32_t index) {
  const auto [entry, is_new] = drafts_.try_emplace(index);
  if (is_new) {
    entry->second.choice.set_index(index);
    entry->second.choice.mutable_message()->set_role(v1::ROLE_ASSISTANT);
  }
  return entry->second;
}

Fold::Sound& Fold::sound(Draft& draft, bool starts_part) {
  if (starts_part || draft.sounds.empty()) draft.sounds.emplace_back();
  return draft.sounds.back();
}

v1::ConverseResponse Fold::finish() const {
  v1::ConverseResponse response = response_;
  for (const auto& [index, draft] : drafts_) *response.add_choices() = finish(draft);
  return response;
}

v1::Choice Fold::finish(const Draft& draft) {
  v1::Choice choice = draft.choice;
  v1::Message& message = *choice.mutable_message();
  for (const auto& [index, call] : draft.tool_calls) *message.add_tool_calls() = call;
  for (const Sound& sound : draft.sounds) {
    v1::Audio& audio = *message.add_content()->mutable_audio();
    if (sound.file) *audio.mutable_file() = *sound.file;
    if (!sound.bytes.empty()) {
      audio.set_mime_type(audio_type(sound.file));
      audio.set_data(sound.bytes);
    } else if (sound.file && !sound.file->uri().empty()) {
      audio.set_uri(sound.file->uri());
    }
  }
  return choice;
}

}  // namespace dashgate::detail
