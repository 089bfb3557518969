// The one type of error that calls throw.
#ifndef DASHGATE_ERROR_H_
#define DASHGATE_ERROR_H_

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

// One field of a request that is wrong.
struct FieldViolation {
  std::string field;        // its path, for example `conversation.messages[0].role`
  std::string description;  // what is wrong, and what would be right
};

// A call that failed. The code says what to do next, the reason what happened: docs/errors.md has
// all of them. Copying one never throws.
//
// What is wrong before a call begins is told in the language's own words: std::invalid_argument
// for options that contradict each other, std::filesystem::filesystem_error for a file that cannot
// be read.
class Error : public std::runtime_error {
 public:
  // What an error says. Made by hand only in tests of programs that use this library.
  struct Fields {
    grpc::StatusCode code = grpc::StatusCode::UNKNOWN;
    std::string message;
    std::string reason;
    std::string upstream_code;
    std::optional<int> upstream_http_status;
    std::string upstream_request_id;
    std::optional<int> attempts;
    std::string request_id;
    std::optional<std::chrono::milliseconds> retry_after;
    std::vector<FieldViolation> field_violations;
    grpc::Status status;
  };

  explicit Error(Fields fields);

  // Reads the status of a call that was made with the generated classes. The context is that of
  // the call, which must be over; `request_id` is the name that was sent with it.
  static Error from_status(const grpc::Status& status, const grpc::ClientContext& context,
                           std::string request_id = {});

  // gRPC's code.
  grpc::StatusCode code() const noexcept { return fields_->code; }
  // The code's name, for example `UNAVAILABLE`.
  const char* code_name() const noexcept;
  // What happened, for a person. what() tells code, reason and request id as well.
  const std::string& message() const noexcept { return fields_->message; }
  // What happened, for a program: `UPSTREAM_RATE`. Empty when the gRPC library or a proxy made the
  // error.
  const std::string& reason() const noexcept { return fields_->reason; }
  // What DashScope said, if it was DashScope that refused.
  const std::string& upstream_code() const noexcept { return fields_->upstream_code; }
  std::optional<int> upstream_http_status() const noexcept { return fields_->upstream_http_status; }
  const std::string& upstream_request_id() const noexcept { return fields_->upstream_request_id; }
  // How often DashScope was asked.
  std::optional<int> attempts() const noexcept { return fields_->attempts; }
  // The name of the call, as in the gateway's log.
  const std::string& request_id() const noexcept { return fields_->request_id; }
  // How long to wait before the call is made again. Unset: do not make it again.
  std::optional<std::chrono::milliseconds> retry_after() const noexcept {
    return fields_->retry_after;
  }
  // The fields of the request that are wrong.
  const std::vector<FieldViolation>& field_violations() const noexcept {
    return fields_->field_violations;
  }
  // The status as it came, with its details. An error that this library made has none.
  const grpc::Status& status() const noexcept { return fields_->status; }

 private:
  std::shared_ptr<const Fields> fields_;
};

}  // namespace dashgate

#endif  // DASHGATE_ERROR_H_
