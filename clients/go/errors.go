package dashgate

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Error is the error of a failed call; use errors.As to find it. Code determines how to react,
// Reason is the cause; docs/errors.md of the gateway lists both.
//
// If the context ended the call, errors.Is also finds context.Canceled or context.DeadlineExceeded.
type Error struct {
	Code codes.Code
	// Message is in English. Its wording may change.
	Message string
	// Reason is the cause. It is ERROR_REASON_UNSPECIFIED if the gateway did not create the error; a
	// number without a name is a reason of a newer gateway.
	Reason dashgatev1.ErrorReason
	// RawReason is the reason as text. STREAM_IDLE and TOOL_ROUNDS are created by this package
	// only, and have no value of ErrorReason. It is empty if gRPC created the error.
	RawReason string
	// Usage is the usage of the call until it failed, as counted by DashScope; nil if it reported
	// nothing.
	Usage *dashgatev1.Usage
	// OutputStarted is whether a part of the answer was produced: reported by the gateway, or
	// received by this stream.
	OutputStarted bool
	// RequestID is the request id, as in the gateway's log.
	RequestID string
	// UpstreamCode is DashScope's error code, such as Throttling.RateQuota.
	UpstreamCode string
	// UpstreamHTTPStatus is the HTTP status of DashScope's response, 0 if there was none.
	UpstreamHTTPStatus int
	// UpstreamRequestID is DashScope's request id, for its support.
	UpstreamRequestID string
	// Attempts is how many requests were sent to DashScope.
	Attempts int
	// Model is the model that was called, after the gateway's mapping.
	Model string
	// FieldViolations are the invalid fields of the request.
	FieldViolations []FieldViolation
	// Status is the raw status with its details.
	Status *status.Status

	retryAfter *time.Duration
	cause      error
}

// FieldViolation is an invalid field of the request.
type FieldViolation struct {
	// Field is its path, such as conversation.messages[0].content[1].audio.uri.
	Field string
	// Description is the problem and its fix.
	Description string
}

// Error returns code, reason, message and request id.
func (e *Error) Error() string {
	text := e.Code.String()
	if e.RawReason != "" {
		text += " " + e.RawReason
	}
	text += ": " + e.Message
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// RetryAfter returns how long to wait before a retry; false means: do not retry.
func (e *Error) RetryAfter() (time.Duration, bool) {
	if e.retryAfter == nil {
		return 0, false
	}
	return *e.retryAfter, true
}

// GRPCStatus implements the interface of status.FromError and status.Code.
func (e *Error) GRPCStatus() *status.Status { return e.Status }

// Unwrap returns the context's error if the context ended the call.
func (e *Error) Unwrap() error { return e.cause }

// deadlineSlack is how much earlier than this side the server may see the end of a deadline.
const deadlineSlack = 50 * time.Millisecond

// newError converts gRPC's error; requestID is the id that was sent.
func newError(ctx context.Context, err error, trailers grpcmetadata.MD, requestID string) *Error {
	raw := status.Convert(err)
	// gRPC wraps the status of a retried call, and its message is then a chain.
	if inner, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		raw = inner.GRPCStatus()
	}
	e := &Error{Code: raw.Code(), Message: raw.Message(), RequestID: requestID, Status: raw}
	ended := ctx.Err()
	if deadline, has := ctx.Deadline(); ended == nil && has && time.Until(deadline) < deadlineSlack {
		// The server's timer was first.
		ended = context.DeadlineExceeded
	}
	if ended != nil && (e.Code == codes.Canceled || e.Code == codes.DeadlineExceeded) {
		e.cause = ended
	}
	if said := trailers.Get("grpc-retry-pushback-ms"); len(said) > 0 {
		if wait, err := strconv.ParseInt(said[0], 10, 32); err == nil && wait >= 0 {
			after := time.Duration(wait) * time.Millisecond
			e.retryAfter = &after
		}
	}
	for _, detail := range raw.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.RawReason = detail.GetReason()
		case *dashgatev1.CallFailure:
			e.Reason = detail.GetReason()
			e.Usage = detail.GetUsage()
			e.OutputStarted = detail.GetOutputStarted()
			e.Attempts = int(detail.GetAttempts())
			e.UpstreamCode = detail.GetUpstreamCode()
			e.UpstreamHTTPStatus = int(detail.GetUpstreamHttpStatus())
			e.UpstreamRequestID = detail.GetUpstreamRequestId()
			e.Model = detail.GetModel()
		case *errdetails.RequestInfo:
			if detail.GetRequestId() != "" {
				e.RequestID = detail.GetRequestId()
			}
		case *errdetails.RetryInfo:
			after := detail.GetRetryDelay().AsDuration()
			e.retryAfter = &after
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				e.FieldViolations = append(e.FieldViolations, FieldViolation{
					Field: violation.GetField(), Description: violation.GetDescription(),
				})
			}
		}
	}
	return e
}

// ownError returns an error that this package detects. Its reason need not be one of ErrorReason.
func ownError(code codes.Code, reason, requestID, format string, values ...any) *Error {
	raw := status.Newf(code, format, values...)
	return &Error{
		Code: code, Message: raw.Message(), RequestID: requestID, Status: raw, RawReason: reason,
		Reason: dashgatev1.ErrorReason(dashgatev1.ErrorReason_value[reason]),
	}
}

// errIdle is the cause of the context of a stream that received nothing.
var errIdle = errors.New("nothing came")

func idleError(limit time.Duration, requestID string) *Error {
	return ownError(codes.DeadlineExceeded, "STREAM_IDLE", requestID,
		"nothing came for %v, not even a heartbeat, and the call was cancelled; WithIdleTimeout sets this limit",
		limit)
}

func truncatedError(requestID string) *Error {
	return ownError(codes.Internal, "STREAM_TRUNCATED", requestID,
		"the stream ended before the answer was complete")
}

func roundsError(rounds int) *Error {
	return ownError(codes.FailedPrecondition, "TOOL_ROUNDS", "",
		"the model still asks for tools after %d rounds; WithMaxRounds sets this limit", rounds)
}

func unknownTool(name string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	// The other clients do not escape for HTML.
	encoder.SetEscapeHTML(false)
	// A struct of a text is always encoded.
	_ = encoder.Encode(struct {
		Error string `json:"error"`
	}{"there is no tool " + name})
	return strings.TrimSpace(text.String())
}
