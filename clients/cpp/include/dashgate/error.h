// The error of a failed call.
#ifndef DASHGATE_ERROR_H_
#define DASHGATE_ERROR_H_

#include <dashgate/metadata.h>
#include <dashgate/v1/error.pb.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace grpc {
class ClientContext;
}  // namespace grpc

namespace dashgate {

/// An invalid field of a request.
struct FieldViolation {
  std::string field;        ///< its path, for example `conversation.messages[0].role`
  std::string description;  ///< the problem and its fix
};

/// The error of a failed call. The code determines how to react, the reason is the cause;
/// docs/errors.md of the gateway lists both. Copying never throws.
///
/// Before a call begins, invalid options throw std::invalid_argument, and a file that cannot be
/// read throws std::filesystem::filesystem_error, which has its path.
class Error : public std::runtime_error {
 public:
  /// The values of an error. Programs need it only in their tests.
  struct Fields {
    grpc::StatusCode code = grpc::StatusCode::UNKNOWN;      ///< see code()
    std::string message;                                    ///< see message()
    v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;  ///< see reason()
    std::string raw_reason;                                 ///< see raw_reason()
    std::optional<v1::Usage> usage;                         ///< see usage()
    bool output_started = false;                            ///< see output_started()
    std::string upstream_code;                              ///< see upstream_code()
    std::optional<int> upstream_http_status;                ///< see upstream_http_status()
    std::string upstream_request_id;                        ///< see upstream_request_id()
    std::optional<int> attempts;                            ///< see attempts()
    std::string model;                                      ///< see model()
    std::string request_id;                                 ///< see request_id()
    bool retryable = false;                                 ///< see retryable()
    std::optional<std::chrono::milliseconds> retry_after;   ///< see retry_after()
    std::vector<FieldViolation> field_violations;           ///< see field_violations()
    Metadata headers;                                       ///< see headers()
    grpc::Status status;                                    ///< see status()
  };

  /// Makes an error of its values.
  explicit Error(Fields fields);

  /// Converts the status of a call that was made with the generated classes. `context` is that of
  /// the call, which must have ended; `request_id` is the id that was sent with it;
  /// `output_started` is whether the call received a part of the answer.
  static Error from_status(const grpc::Status& status, const grpc::ClientContext& context,
                           std::string request_id = {}, bool output_started = false);

  /// Returns all values, to make another error of them.
  const Fields& fields() const noexcept { return *fields_; }

  /// Returns gRPC's status code.
  grpc::StatusCode code() const noexcept { return fields_->code; }
  /// Returns the name of the code, for example `UNAVAILABLE`.
  const char* code_name() const noexcept;
  /// Returns the message, in English; its wording may change. what() also has code, reason and
  /// request id.
  const std::string& message() const noexcept { return fields_->message; }
  /// Returns the cause. ERROR_REASON_UNSPECIFIED if the gateway did not create the error; a value
  /// without a name is a reason of a newer gateway.
  v1::ErrorReason reason() const noexcept { return fields_->reason; }
  /// Returns the reason as text, for example `UPSTREAM_RATE`. `STREAM_IDLE`, `TOOL_ROUNDS` and
  /// `OUTPUT_INVALID` are created by this library only, and have no value of ErrorReason. Empty if
  /// the gRPC library created the error.
  const std::string& raw_reason() const noexcept { return fields_->raw_reason; }
  /// Returns the usage of the call until it failed, as counted by DashScope. Unset if it reported
  /// nothing.
  const std::optional<v1::Usage>& usage() const noexcept { return fields_->usage; }
  /// Returns whether a part of the answer was produced: reported by the gateway, or received by
  /// this stream. A retry is then billed again.
  bool output_started() const noexcept { return fields_->output_started; }
  /// Returns DashScope's error code, for example `Throttling.RateQuota`.
  const std::string& upstream_code() const noexcept { return fields_->upstream_code; }
  /// Returns the HTTP status of DashScope's response.
  std::optional<int> upstream_http_status() const noexcept { return fields_->upstream_http_status; }
  /// Returns DashScope's request id, for its support.
  const std::string& upstream_request_id() const noexcept { return fields_->upstream_request_id; }
  /// Returns how many requests were sent to DashScope. Unset if the gateway did not create the
  /// error.
  std::optional<int> attempts() const noexcept { return fields_->attempts; }
  /// Returns the model that was called, after the gateway's mapping.
  const std::string& model() const noexcept { return fields_->model; }
  /// Returns the request id, as in the gateway's log.
  const std::string& request_id() const noexcept { return fields_->request_id; }
  /// Returns whether the same call may succeed later: after retry_after(), or, if that is unset, at
  /// a time that is not known, for example when the gateway can be reached again.
  bool retryable() const noexcept { return fields_->retryable; }
  /// Returns the time to wait before a retry. Unset: the time is not known.
  std::optional<std::chrono::milliseconds> retry_after() const noexcept {
    return fields_->retry_after;
  }
  /// Returns the invalid fields of the request.
  const std::vector<FieldViolation>& field_violations() const noexcept {
    return fields_->field_violations;
  }
  /// Returns the metadata of the response: headers, then trailers, without binary ones.
  const Metadata& headers() const noexcept { return fields_->headers; }
  /// Returns the raw status with its details. OK if this library created the error.
  const grpc::Status& status() const noexcept { return fields_->status; }

 private:
  std::shared_ptr<const Fields> fields_;
};

}  // namespace dashgate

#endif  // DASHGATE_ERROR_H_
