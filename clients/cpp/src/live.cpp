#include <dashgate/client.h>
#include <dashgate/live.h>
#include <dashgate/v1/live_service.grpc.pb.h>

#include <utility>

#include "call.h"
#include "client_impl.h"
#include "session_state.h"

namespace dashgate {
namespace {

// Returns what both kinds of sessions need. Throws Error if the setup cannot be serialized.
template <class Request, class Event, class Setup, class Impl>
detail::SessionSetup<Request, Event> make_setup(Impl& client, const Setup& setup,
                                                const SessionOptions& options, const char* method) {
  detail::SessionSetup<Request, Event> session;
  const std::string given = detail::given_id(options.request_id, options.metadata);
  session.request_id = given.empty() ? detail::make_uuid() : given;
  session.of_client = client.metadata;
  session.of_call = detail::with_request_id(options.metadata, session.request_id);
  session.deadline = client.stream_deadline(options.timeout);
  session.log = client.log;
  session.method = method;
  session.cancellation = options.cancellation;
  session.given = setup.resume();
  session.first = [setup](const std::optional<v1::ResumeSession>& resumption) {
    Request request;
    if (resumption) {
      *request.mutable_setup()->mutable_resume() = *resumption;
    } else {
      *request.mutable_setup() = setup;
    }
    return request;
  };
  detail::check_request(session.first(std::nullopt), session.request_id);
  try {
    session.lease = client.connect(session.deadline, session.cancellation, session.request_id);
  } catch (const Error& error) {
    detail::CallLog(client.log, method, session.request_id).fail(error);
    throw;
  }
  return session;
}

}  // namespace

template <class Request, class Event>
Session<Request, Event>::Session(std::unique_ptr<State> state) noexcept
    : state_(std::move(state)) {}

template <class Request, class Event>
Session<Request, Event>::Session(Session&& other) noexcept = default;

template <class Request, class Event>
Session<Request, Event>& Session<Request, Event>::operator=(Session&& other) noexcept = default;

template <class Request, class Event>
Session<Request, Event>::~Session() = default;

template <class Request, class Event>
std::optional<Event> Session<Request, Event>::next() {
  return state_->next();
}

template <class Request, class Event>
void Session<Request, Event>::send(const Request& request) {
  state_->send(request);
}

template <class Request, class Event>
void Session<Request, Event>::finish() {
  state_->finish();
}

template <class Request, class Event>
void Session<Request, Event>::close() noexcept {
  state_->leave("the session was closed");
}

template <class Request, class Event>
const std::string& Session<Request, Event>::request_id() const noexcept {
  return state_->progress().request_id();
}

template <class Request, class Event>
std::string Session<Request, Event>::session_id() const {
  return state_->progress().session_id();
}

template <class Request, class Event>
int Session<Request, Event>::resumes() const {
  return state_->progress().resumes();
}

template <class Request, class Event>
std::optional<v1::ResumeSession> Session<Request, Event>::resumption() const {
  return state_->progress().resumption();
}

template <class Request, class Event>
std::optional<v1::SessionEnded> Session<Request, Event>::ended() const {
  return state_->progress().ended();
}

template class Session<v1::ConverseLiveRequest, v1::ConverseLiveResponse>;
template class Session<v1::SynthesizeLiveRequest, v1::SynthesizeLiveResponse>;

LiveSession::LiveSession(std::unique_ptr<State> state) noexcept : Session(std::move(state)) {}

void LiveSession::send_audio(std::string_view audio) {
  v1::ConverseLiveRequest request;
  request.set_audio(audio.data(), audio.size());
  send(request);
}

void LiveSession::send_image(std::string_view image) {
  v1::ConverseLiveRequest request;
  request.set_image(image.data(), image.size());
  send(request);
}

void LiveSession::send_text(std::string_view text) {
  v1::ConverseLiveRequest request;
  request.set_text(std::string(text));
  send(request);
}

void LiveSession::commit() {
  v1::ConverseLiveRequest request;
  request.mutable_commit();
  send(request);
}

void LiveSession::clear() {
  v1::ConverseLiveRequest request;
  request.mutable_clear();
  send(request);
}

void LiveSession::create_response(std::string_view instructions,
                                  const std::vector<std::string>& modalities) {
  v1::ConverseLiveRequest request;
  v1::CreateResponse& create = *request.mutable_create_response();
  create.set_instructions(std::string(instructions));
  for (const std::string& modality : modalities) create.add_modalities(modality);
  send(request);
}

void LiveSession::cancel_response() {
  v1::ConverseLiveRequest request;
  request.mutable_cancel_response();
  send(request);
}

void LiveSession::send_tool_result(std::string_view tool_call_id, std::string_view output) {
  v1::ConverseLiveRequest request;
  request.mutable_tool_result()->set_tool_call_id(std::string(tool_call_id));
  request.mutable_tool_result()->set_output(std::string(output));
  send(request);
}

void LiveSession::update(const v1::UpdateSession& update) {
  v1::ConverseLiveRequest request;
  *request.mutable_update() = update;
  send(request);
}

void LiveSession::delete_item(std::string_view item_id) {
  v1::ConverseLiveRequest request;
  request.mutable_delete_item()->set_item_id(std::string(item_id));
  send(request);
}

SpeechSession::SpeechSession(std::unique_ptr<State> state) noexcept : Session(std::move(state)) {}

void SpeechSession::send_text(std::string_view text) {
  v1::SynthesizeLiveRequest request;
  request.set_text(std::string(text));
  send(request);
}

void SpeechSession::commit() {
  v1::SynthesizeLiveRequest request;
  request.mutable_commit();
  send(request);
}

void SpeechSession::clear() {
  v1::SynthesizeLiveRequest request;
  request.mutable_clear();
  send(request);
}

std::optional<std::string> SpeechAudio::next() {
  while (std::optional<v1::SynthesizeLiveResponse> event = session_->next()) {
    if (!event->response_delta().audio().empty()) {
      return std::move(*event->mutable_response_delta()->mutable_audio());
    }
  }
  return std::nullopt;
}

LiveSession Client::live(const v1::LiveSetup& setup, const SessionOptions& options) const {
  auto session = make_setup<v1::ConverseLiveRequest, v1::ConverseLiveResponse>(
      *impl_, setup, options, "ConverseLive");
  session.open = [lease = session.lease](grpc::ClientContext& context) {
    return lease->connection().sessions->ConverseLive(&context);
  };
  return LiveSession(std::make_unique<LiveSession::State>(std::move(session)));
}

LiveSession Client::live(const std::string& model, const SessionOptions& options) const {
  v1::LiveSetup setup;
  setup.set_model(model);
  return live(setup, options);
}

SpeechSession Client::speak(const v1::SynthesisSetup& setup, const SessionOptions& options) const {
  auto session = make_setup<v1::SynthesizeLiveRequest, v1::SynthesizeLiveResponse>(
      *impl_, setup, options, "SynthesizeLive");
  session.open = [lease = session.lease](grpc::ClientContext& context) {
    return lease->connection().sessions->SynthesizeLive(&context);
  };
  return SpeechSession(std::make_unique<SpeechSession::State>(std::move(session)));
}

SpeechSession Client::speak(const std::string& model, const SessionOptions& options) const {
  v1::SynthesisSetup setup;
  setup.set_model(model);
  return speak(setup, options);
}

}  // namespace dashgate
