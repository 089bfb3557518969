// The answer of a model.
#ifndef DASHGATE_ANSWER_H_
#define DASHGATE_ANSWER_H_

#include <dashgate/metadata.h>
#include <dashgate/v1/conversation_service.pb.h>

#include <string>

namespace dashgate {

/// The complete answer of a model: the response of a unary call, or the accumulated events of a
/// stream.
class Answer {
 public:
  /// Makes an answer of a response of the schema, and of the metadata that came with it.
  explicit Answer(v1::ConverseResponse raw, Metadata headers = {});

  /// Returns the texts of choice 0, joined.
  std::string text() const;
  /// Returns the reasoning of the answer.
  const std::string& reasoning_text() const noexcept { return message().reasoning_text(); }
  /// Returns the message of choice 0, for Conversation::append. Empty if there is no such choice.
  const v1::Message& message() const noexcept { return first().message(); }
  /// Returns the tool calls of the answer.
  const google::protobuf::RepeatedPtrField<v1::ToolCall>& tool_calls() const noexcept {
    return message().tool_calls();
  }
  /// Returns the bytes of the audio parts of choice 0, joined: 16-bit little-endian mono PCM at
  /// 24 kHz by default. The MIME type of a part names another format.
  std::string audio() const;

  /// Returns why choice 0 ended. A value without a name is a reason of a newer gateway.
  v1::FinishReason finish_reason() const noexcept { return first().finish_reason(); }
  /// Returns the reason as DashScope sent it.
  const std::string& raw_finish_reason() const noexcept { return first().raw_finish_reason(); }
  /// Returns the usage of the call. A counter that DashScope did not send is unset, not 0.
  const v1::Usage& usage() const noexcept { return raw_.usage(); }
  /// Returns the warnings, for example that audio was truncated. Usually empty.
  const google::protobuf::RepeatedPtrField<v1::Warning>& warnings() const noexcept {
    return raw_.warnings();
  }
  /// Returns the request id, as in the gateway's log.
  const std::string& request_id() const noexcept { return raw_.request_id(); }
  /// Returns DashScope's request id, for its support.
  const std::string& upstream_request_id() const noexcept { return raw_.upstream_request_id(); }
  /// Returns the model that answered, after the gateway's mapping.
  const std::string& model() const noexcept { return raw_.model(); }
  /// Returns the duration of the call and its attempts.
  const v1::Timing& timing() const noexcept { return raw_.timing(); }
  /// Returns all answers: one, unless `n` is above 1.
  const google::protobuf::RepeatedPtrField<v1::Choice>& choices() const noexcept {
    return raw_.choices();
  }
  /// Returns the response of the schema.
  const v1::ConverseResponse& raw() const noexcept { return raw_; }
  /// Returns the metadata of the response: headers, then trailers, without binary ones.
  const Metadata& headers() const noexcept { return headers_; }

  /// Returns the answer as JSON, in the JSON form of the schema's ConverseResponse.
  std::string to_json() const;

 private:
  const v1::Choice& first() const noexcept;

  v1::ConverseResponse raw_;
  Metadata headers_;
};

}  // namespace dashgate

#endif  // DASHGATE_ANSWER_H_
