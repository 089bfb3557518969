#include <dashgate/client.h>
#include <dashgate/error.h>
#include <dashgate/v1/conversation_service.grpc.pb.h>

#include <cstdlib>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include "call.h"
#include "call_canceller.h"
#include "channel.h"
#include "client_impl.h"
#include "stream_state.h"

namespace dashgate {
namespace {

constexpr const char* kDefaultTarget = "127.0.0.1:50051";

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string choose_target(const ClientOptions& options) {
  if (!options.target.empty()) return options.target;
  std::string target = from_environment("DASHGATE_ADDR");
  return target.empty() ? kDefaultTarget : target;
}

Metadata sent_always(const ClientOptions& options) {
  Metadata metadata = options.metadata;
  std::string key = options.api_key.value_or("");
  // Options of the program take precedence over the environment.
  if (!options.api_key && metadata.count("authorization") == 0) {
    key = from_environment("DASHGATE_API_KEY");
  }
  if (!key.empty()) {
    metadata.erase("authorization");
    metadata.emplace("authorization", "Bearer " + key);
  }
  detail::check_metadata(metadata);
  return metadata;
}

template <class Request>
Request make_request(const Conversation& conversation, const CallOptions& options) {
  Request request;
  *request.mutable_conversation() = conversation.raw();
  *request.mutable_options() = options.generation;
  const std::string given = detail::given_id(options.request_id, options.metadata);
  request.set_request_id(given.empty() ? detail::make_uuid() : given);
  detail::check_size(request, request.request_id());
  return request;
}

// Escapes a text for a JSON string: the model may write any name.
std::string escape_json(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (code < 0x20) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      escaped += "\\u00";
      escaped += kDigits[code >> 4U];
      escaped += kDigits[code & 0xfU];
      continue;
    }
    if (letter == '"' || letter == '\\') escaped += '\\';
    escaped += letter;
  }
  return escaped;
}

std::string answer_to(const v1::ToolCall& call, const std::vector<Tool>& tools) {
  for (const Tool& tool : tools) {
    if (tool.name == call.name()) return tool.function(call.arguments());
  }
  return R"({"error":"there is no tool )" + escape_json(call.name()) + R"("})";
}

// The results of functions that brought none: no call stays unanswered.
constexpr const char* kFailed = R"({"error":"the function failed"})";
constexpr const char* kNotRun = R"({"error":"the function was not run"})";

// Answers the calls from this one with the same result.
void answer_all(Conversation& conversation, const Answer& answer, int first, const char* result) {
  for (int at = first; at < answer.tool_calls().size(); ++at) {
    conversation.tool_result(answer.tool_calls()[at], result);
  }
}

}  // namespace

std::string_view version() noexcept { return DASHGATE_CLIENT_VERSION; }

Client::Impl::Impl(const ClientOptions& options, std::shared_ptr<grpc::ChannelInterface> existing)
    : timeout(options.timeout),
      idle_timeout(options.idle_timeout),
      metadata(sent_always(options)),
      channel_(std::move(existing)) {
  if (idle_timeout <= std::chrono::milliseconds::zero()) {
    throw std::invalid_argument("dashgate: idle_timeout must be more than zero");
  }
  if (channel_ == nullptr) {
    target_ = detail::read_target(choose_target(options), options.tls);
  } else if (!options.target.empty() || options.tls) {
    throw std::invalid_argument("dashgate: a channel that exists has its target and TLS already");
  }
}

const std::shared_ptr<grpc::ChannelInterface>& Client::Impl::channel() {
  std::call_once(once_, [this] {
    detail::ConnectionPool::Open open;
    if (channel_ == nullptr) {
      channel_ = detail::make_channel(target_);
      open = [target = target_] { return detail::make_channel(target); };
    }
    pool_ = std::make_unique<detail::ConnectionPool>(channel_, std::move(open));
    canceller_ = std::make_shared<detail::CallCanceller>(v1::CallService::NewStub(channel_));
  });
  return channel_;
}

std::shared_ptr<detail::Connection> Client::Impl::connection() {
  channel();
  return pool_->take();
}

const std::shared_ptr<detail::CallCanceller>& Client::Impl::canceller() {
  channel();
  return canceller_;
}

detail::StreamClient Client::Impl::stream_client() {
  const std::shared_ptr<detail::Connection> to = connection();
  return {{to, to->conversations.get()}, canceller_, metadata, idle_timeout};
}

Client::Impl::~Impl() {
  if (canceller_ != nullptr) canceller_->finish();
}

std::shared_ptr<v1::LiveService::StubInterface> Client::Impl::sessions() {
  const std::shared_ptr<detail::Connection> to = connection();
  return {to, to->sessions.get()};
}

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(options, nullptr)) {}

Client::Client(std::shared_ptr<grpc::ChannelInterface> channel, ClientOptions options) {
  if (channel == nullptr) throw std::invalid_argument("dashgate: the channel is a null pointer");
  impl_ = std::make_unique<Impl>(options, std::move(channel));
}

Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Answer Client::converse(const Conversation& conversation, const CallOptions& options) const {
  const auto request = make_request<v1::ConverseRequest>(conversation, options);
  detail::Call call(
      impl_->metadata, options.metadata,
      options.timeout ? options.timeout : impl_->timeout.value_or(detail::kUnaryTimeout),
      options.cancellation);
  v1::ConverseResponse response;
  const auto connection = impl_->connection();
  const grpc::Status status =
      connection->conversations->Converse(&call.context(), request, &response);
  if (!status.ok()) throw Error::from_status(status, call.context(), request.request_id());
  return Answer(std::move(response));
}

Stream Client::stream(const Conversation& conversation, const CallOptions& options) const {
  auto request = make_request<v1::ConverseStreamRequest>(conversation, options);
  request.set_resumable(options.resume);
  detail::check_metadata(options.metadata);
  CallOptions limited = options;
  limited.request_id = detail::given_id(options.request_id, options.metadata);
  if (!limited.timeout) limited.timeout = impl_->timeout;
  return Stream(
      std::make_shared<detail::StreamState>(impl_->stream_client(), std::move(request), limited));
}

void Client::cancel_call(const std::string& request_id, const CallOptions& options) const {
  v1::CancelCallRequest request;
  request.set_request_id(request_id);
  detail::Call call(
      impl_->metadata, options.metadata,
      options.timeout ? options.timeout : impl_->timeout.value_or(detail::kUnaryTimeout),
      options.cancellation);
  v1::CancelCallResponse response;
  const grpc::Status status =
      impl_->canceller()->service().CancelCall(&call.context(), request, &response);
  if (!status.ok()) throw Error::from_status(status, call.context(), request_id);
}

Answer Client::run_tools(Conversation& conversation, const std::vector<Tool>& tools, int max_rounds,
                         const CallOptions& options) const {
  for (const Tool& tool : tools) {
    conversation.declare_tool(tool.name, tool.description, tool.parameters);
  }
  CallOptions of_round = options;
  const std::string given = detail::given_id(options.request_id, options.metadata);
  of_round.metadata.erase("x-request-id");
  of_round.request_id = given;
  for (int round = 1;; ++round) {
    if (round > 1 && !given.empty()) of_round.request_id = given + "-" + std::to_string(round);
    Answer answer = converse(conversation, of_round);
    conversation.append(answer);
    if (answer.tool_calls().empty()) return answer;
    if (round > max_rounds) {
      answer_all(conversation, answer, 0, kNotRun);
      break;
    }
    for (int at = 0; at < answer.tool_calls().size(); ++at) {
      const v1::ToolCall& call = answer.tool_calls()[at];
      std::string result;
      try {
        result = answer_to(call, tools);
      } catch (...) {
        conversation.tool_result(call, kFailed);
        answer_all(conversation, answer, at + 1, kNotRun);
        throw;
      }
      conversation.tool_result(call, result);
    }
  }
  Error::Fields fields;
  fields.code = grpc::StatusCode::FAILED_PRECONDITION;
  fields.raw_reason = "TOOL_ROUNDS";
  fields.message =
      "the model still asks for tools after " + std::to_string(max_rounds) + " rounds (max_rounds)";
  throw Error(std::move(fields));
}

std::shared_ptr<grpc::ChannelInterface> Client::channel() const { return impl_->channel(); }

void Client::prepare(grpc::ClientContext& context) const {
  detail::add_metadata(context, impl_->metadata, {});
  if (impl_->timeout) context.set_deadline(detail::from_now(*impl_->timeout));
}

}  // namespace dashgate
