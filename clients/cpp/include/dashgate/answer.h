// What a model answered.
#ifndef DASHGATE_ANSWER_H_
#define DASHGATE_ANSWER_H_

#include <dashgate/v1/conversation_service.pb.h>

#include <string>

namespace dashgate {

// An answer, whole: as it came from Converse, or as the events of a stream add up to.
class Answer {
 public:
  explicit Answer(v1::ConverseResponse raw);

  // The texts of choice 0, joined.
  std::string text() const;
  // The reasoning of the answer.
  const std::string& reasoning_text() const noexcept { return message().reasoning_text(); }
  // Choice 0's message, to be appended to the conversation. Empty if there is no such choice.
  const v1::Message& message() const noexcept { return first().message(); }
  // The tool calls of the answer.
  const google::protobuf::RepeatedPtrField<v1::ToolCall>& tool_calls() const noexcept {
    return message().tool_calls();
  }
  // The bytes of choice 0's audio parts, joined.
  std::string audio() const;

  v1::FinishReason finish_reason() const noexcept { return first().finish_reason(); }
  const std::string& raw_finish_reason() const noexcept { return first().raw_finish_reason(); }
  const v1::Usage& usage() const noexcept { return raw_.usage(); }
  // What the caller should know about the answer, for example that audio was cut. Usually empty.
  const google::protobuf::RepeatedPtrField<v1::Warning>& warnings() const noexcept {
    return raw_.warnings();
  }
  // The request id, as in the gateway's log, and DashScope's.
  const std::string& request_id() const noexcept { return raw_.request_id(); }
  const std::string& upstream_request_id() const noexcept { return raw_.upstream_request_id(); }
  // The model that answered, after the operator's mapping.
  const std::string& model() const noexcept { return raw_.model(); }
  const v1::Timing& timing() const noexcept { return raw_.timing(); }
  // All answers: one, unless `n` asked for more.
  const google::protobuf::RepeatedPtrField<v1::Choice>& choices() const noexcept {
    return raw_.choices();
  }
  // The message itself.
  const v1::ConverseResponse& raw() const noexcept { return raw_; }

 private:
  const v1::Choice& first() const noexcept;

  v1::ConverseResponse raw_;
};

}  // namespace dashgate

#endif  // DASHGATE_ANSWER_H_
