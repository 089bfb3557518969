package dashgate

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// MarshalJSON returns the conversation in the JSON form of the schema.
func (c *Conversation) MarshalJSON() ([]byte, error) { return schemaJSON(c.Raw) }

// UnmarshalJSON reads a conversation in the JSON form of the schema.
func (c *Conversation) UnmarshalJSON(text []byte) error {
	raw := new(dashgatev1.Conversation)
	if err := protojson.Unmarshal(text, raw); err != nil {
		// The error of protojson quotes the text.
		return errors.New("not a conversation in the JSON form of the schema " + placeInJSON.FindString(err.Error()))
	}
	c.Raw = raw
	return nil
}

// placeInJSON is the position in an error of protojson, which is before anything of the text.
var placeInJSON = regexp.MustCompile(`\(line \d+:\d+\)`)

// MarshalJSON returns the answer in the JSON form of the schema: that of ConverseResponse.
func (a *Answer) MarshalJSON() ([]byte, error) { return schemaJSON(a.Raw) }

// MarshalJSON returns the values of the error. Absent ones are left out, and the usage has the JSON
// form of the schema.
func (e *Error) MarshalJSON() ([]byte, error) {
	reason := ""
	if e.Reason != dashgatev1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		reason = dashgatev1.ErrorReason_name[int32(e.Reason)]
	}
	form := errorJSON{
		Reason: reason, Code: codeName(e), Message: e.Message, RawReason: e.RawReason, OutputStarted: e.OutputStarted,
		Retryable: e.Retryable, RequestID: e.RequestID, UpstreamCode: e.UpstreamCode,
		UpstreamHTTPStatus: e.UpstreamHTTPStatus, UpstreamRequestID: e.UpstreamRequestID,
		Attempts: e.Attempts, Model: e.Model, Headers: e.Headers, FieldViolations: e.FieldViolations,
	}
	if after, isKnown := e.RetryAfter(); isKnown {
		milliseconds := after.Milliseconds()
		form.RetryAfter = &milliseconds
	}
	if e.Usage != nil {
		usage, err := schemaJSON(e.Usage)
		if err != nil {
			return nil, err
		}
		form.Usage = usage
	}
	return json.Marshal(form)
}

// errorJSON is an error as JSON. A reason of a newer gateway has no name in the enum.
type errorJSON struct {
	Code               string            `json:"code"`
	Message            string            `json:"message"`
	Reason             string            `json:"reason,omitempty"`
	RawReason          string            `json:"rawReason,omitempty"`
	Usage              json.RawMessage   `json:"usage,omitempty"`
	OutputStarted      bool              `json:"outputStarted"`
	Retryable          bool              `json:"retryable"`
	RetryAfter         *int64            `json:"retryAfterMs,omitempty"`
	RequestID          string            `json:"requestId,omitempty"`
	UpstreamCode       string            `json:"upstreamCode,omitempty"`
	UpstreamHTTPStatus int               `json:"upstreamHttpStatus,omitempty"`
	UpstreamRequestID  string            `json:"upstreamRequestId,omitempty"`
	Attempts           int               `json:"attempts,omitempty"`
	Model              string            `json:"model,omitempty"`
	Headers            map[string]string `json:"headers,omitempty"`
	FieldViolations    []FieldViolation  `json:"fieldViolations,omitempty"`
}

// schemaJSON returns the JSON form of a message, always the same: protojson varies its spaces.
func schemaJSON(message proto.Message) ([]byte, error) {
	text, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, text)
	return compact.Bytes(), err
}

// codeName returns the canonical name of the code, such as NOT_FOUND.
func codeName(e *Error) string { return code.Code(e.Code).String() }
