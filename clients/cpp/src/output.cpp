// Structured output.
#include <dashgate/client.h>
#include <dashgate/error.h>

#include <exception>
#include <utility>

#include "call.h"
#include "client_impl.h"

namespace dashgate {
namespace {

// Returns the error of the parser; nothing if it accepts the text.
std::optional<std::string> error_of(const std::function<void(const std::string&)>& parse,
                                    const std::string& text) {
  try {
    parse(text);
  } catch (const std::exception& error) {
    return error.what();
  }
  return std::nullopt;
}

Error invalid_output(const Answer& answer, const std::string& why) {
  Error::Fields fields =
      detail::make_error(grpc::StatusCode::INTERNAL, why, answer.request_id()).fields();
  fields.raw_reason = "OUTPUT_INVALID";
  fields.usage = answer.usage();
  fields.output_started = true;
  fields.upstream_request_id = answer.upstream_request_id();
  fields.model = answer.model();
  fields.headers = answer.headers();
  return Error(std::move(fields));
}

}  // namespace

Answer Client::converse_parsed(const Conversation& conversation, const OutputSchema& schema,
                               const std::function<void(const std::string&)>& parse,
                               const OutputOptions& options) const {
  CallOptions call = options;
  v1::JsonSchema& format = *call.generation.mutable_response_format()->mutable_json_schema();
  format.set_name(schema.name);
  format.set_schema(schema.schema);
  Answer answer = impl_->converse(conversation.raw(), call);
  std::optional<std::string> error = error_of(parse, answer.text());
  if (!error) return answer;
  if (!options.repair) throw invalid_output(answer, *error);

  Conversation repaired = conversation;
  repaired.append(answer);
  repaired.user("The answer is not valid: " + *error +
                "\nAnswer again, with nothing but JSON that satisfies the schema.");
  const std::string given = detail::given_id(call.request_id, call.metadata);
  call.metadata.erase("x-request-id");
  if (!given.empty()) call.request_id = given + "-2";
  call.expected_turn.reset();
  answer = impl_->converse(repaired.raw(), call);
  error = error_of(parse, answer.text());
  if (error) throw invalid_output(answer, *error);
  return answer;
}

}  // namespace dashgate
