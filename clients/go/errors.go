package dashgate

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Error is the error of a failed call; use errors.As to find it. Code determines how to react,
// Reason is the cause; docs/errors.md of the gateway lists both.
//
// If the context ended the call, errors.Is also finds context.Canceled or context.DeadlineExceeded.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Message is in English. Its wording may change.
	Message string
	// Reason is the cause. It is ERROR_REASON_UNSPECIFIED if the gateway did not create the error; a
	// number without a name is a reason of a newer gateway.
	Reason dashgatev1.ErrorReason
	// RawReason is the reason as text. STREAM_IDLE, TOOL_ROUNDS and OUTPUT_INVALID are created by this
	// package only, and have no value of ErrorReason. It is empty if gRPC created the error.
	RawReason string
	// Usage is the usage of the call until it failed, as counted by DashScope; nil if it reported
	// nothing.
	Usage *dashgatev1.Usage
	// OutputStarted is whether a part of the answer was produced: reported by the gateway, or
	// received by this stream.
	OutputStarted bool
	// Retryable is whether the same call may succeed later: after RetryAfter, if the time is known.
	Retryable bool
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
	// Headers are the metadata and the trailers of the response: names in lower case, without binary
	// ones.
	Headers map[string]string
	// Status is the raw status with its details.
	Status *status.Status

	retryAfter *time.Duration
	cause      error
}

// FieldViolation is an invalid field of the request.
type FieldViolation struct {
	// Field is its path, such as conversation.messages[0].content[1].audio.uri.
	Field string `json:"field"`
	// Description is the problem and its fix.
	Description string `json:"description"`
}

// Error returns code, reason, message and request id, each of them once.
func (e *Error) Error() string {
	text := e.Code.String()
	if e.RawReason != "" && e.RawReason != codeName(e) {
		text += " " + e.RawReason
	}
	text += ": " + e.Message
	if e.RequestID != "" && !hasWord(e.Message, e.RequestID) {
		text += " (request id " + e.RequestID + ")"
	}
	return text
}

// hasWord is whether a text has an id as a word. A short one may be a part of others.
func hasWord(text, id string) bool {
	words := strings.FieldsFunc(text, func(char rune) bool {
		return unicode.IsSpace(char) || strings.ContainsRune("()[],;", char)
	})
	return slices.ContainsFunc(words, func(word string) bool {
		return word == id || strings.Trim(strings.TrimRight(word, ":."), "\"'`") == id
	})
}

// RetryAfter returns how long to wait before a retry. It is false if the time is not known: Retryable
// is whether to retry.
func (e *Error) RetryAfter() (time.Duration, bool) {
	if e.retryAfter == nil {
		return 0, false
	}
	return *e.retryAfter, true
}

// GRPCStatus implements the interface of status.FromError and status.Code.
func (e *Error) GRPCStatus() *status.Status { return e.Status }

// Unwrap returns the context's error if the context ended the call, that of Parse if the answer could
// not be parsed, and that of a file which is not the attached one any more.
func (e *Error) Unwrap() error { return e.cause }
