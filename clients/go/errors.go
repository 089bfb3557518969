package dashgate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Error is the error of a call; errors.As finds it. Code says what to do next, and Reason what
// exactly happened: the gateway's list of errors explains each. Reason is empty if gRPC itself or a
// proxy made the error.
//
// If the context ended the call, errors.Is finds context.Canceled or context.DeadlineExceeded too.
type Error struct {
	// Code is what to do next, in gRPC's words.
	Code codes.Code
	// Message is what happened, in a sentence.
	Message string
	// Reason is what exactly happened, in one word: for programs.
	Reason string
	// RequestID is the name of the call, as in the gateway's log.
	RequestID string
	// UpstreamCode is DashScope's code, such as Throttling.RateQuota.
	UpstreamCode string
	// UpstreamHTTPStatus is DashScope's HTTP status, 0 if there was none.
	UpstreamHTTPStatus int
	// UpstreamRequestID is DashScope's name of the call, for its support.
	UpstreamRequestID string
	// Attempts is how often DashScope was asked.
	Attempts int
	// FieldViolations are the fields of the request that are wrong.
	FieldViolations []FieldViolation
	// Status is the raw status, with all its details.
	Status *status.Status

	retryAfter *time.Duration
	cause      error
}

// FieldViolation is a field of the request that is wrong.
type FieldViolation struct {
	// Field is its path, such as conversation.messages[0].content[1].audio.uri.
	Field string
	// Description is what is wrong with it, and what would be right.
	Description string
}

// The reasons that the client gives by itself.
const (
	ReasonStreamTruncated = "STREAM_TRUNCATED"
	ReasonStreamIdle      = "STREAM_IDLE"
	ReasonToolRounds      = "TOOL_ROUNDS"
)

// Error tells the code, the reason, what happened, and which call it was.
func (e *Error) Error() string {
	text := e.Code.String()
	if e.Reason != "" {
		text += " " + e.Reason
	}
	text += ": " + e.Message
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// RetryAfter tells after how long to call again. False: do not call again.
func (e *Error) RetryAfter() (time.Duration, bool) {
	if e.retryAfter == nil {
		return 0, false
	}
	return *e.retryAfter, true
}

// GRPCStatus makes status.FromError and status.Code work.
func (e *Error) GRPCStatus() *status.Status { return e.Status }

// Unwrap gives the context's error, if the context ended the call.
func (e *Error) Unwrap() error { return e.cause }

// newError reads gRPC's error; requestID is the name that was sent.
func newError(ctx context.Context, err error, trailers grpcmetadata.MD, requestID string) *Error {
	raw := status.Convert(err)
	// gRPC wraps the status when it has repeated the call, and its message is then a chain.
	if inner, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		raw = inner.GRPCStatus()
	}
	e := &Error{Code: raw.Code(), Message: raw.Message(), RequestID: requestID, Status: raw}
	if ended := ctx.Err(); ended != nil && (e.Code == codes.Canceled || e.Code == codes.DeadlineExceeded) {
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
			e.Reason = detail.GetReason()
			e.UpstreamCode = detail.GetMetadata()["upstream_code"]
			e.UpstreamHTTPStatus, _ = strconv.Atoi(detail.GetMetadata()["upstream_http_status"])
			e.UpstreamRequestID = detail.GetMetadata()["upstream_request_id"]
			e.Attempts, _ = strconv.Atoi(detail.GetMetadata()["attempts"])
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

// ownError makes an error that the gateway knows nothing of.
func ownError(code codes.Code, reason, requestID, format string, values ...any) *Error {
	raw := status.Newf(code, format, values...)
	return &Error{
		Code: code, Message: raw.Message(), Reason: reason, RequestID: requestID, Status: raw,
	}
}

// errIdle is why a stream's context ended when nothing came.
var errIdle = errors.New("nothing came")

func idleError(limit time.Duration, requestID string) *Error {
	return ownError(codes.DeadlineExceeded, ReasonStreamIdle, requestID,
		"nothing came for %v, not even a heartbeat, and the call was cancelled; WithIdleTimeout sets this limit",
		limit)
}

func truncatedError(requestID string) *Error {
	return ownError(codes.Internal, ReasonStreamTruncated, requestID,
		"the stream ended before the answer was complete")
}

func roundsError(rounds int) *Error {
	return ownError(codes.FailedPrecondition, ReasonToolRounds, "",
		"the model still asks for tools after %d rounds; WithMaxRounds sets this limit", rounds)
}

func unknownTool(name string) string {
	return fmt.Sprintf(`{"error":"there is no tool %s"}`, name)
}
