package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

type answer struct {
	Text              string            `json:"text"`
	ReasoningText     string            `json:"reasoning_text"`
	FinishReason      any               `json:"finish_reason"`
	RawFinishReason   string            `json:"raw_finish_reason"`
	AudioBytes        int               `json:"audio_bytes"`
	AudioCRC32        uint32            `json:"audio_crc32"`
	ToolCalls         []json.RawMessage `json:"tool_calls"`
	RequestID         string            `json:"request_id"`
	UpstreamRequestID string            `json:"upstream_request_id"`
	Model             string            `json:"model"`
	Usage             json.RawMessage   `json:"usage"`
	Message           json.RawMessage   `json:"message"`
	Raw               json.RawMessage   `json:"raw"`
	Headers           map[string]string `json:"headers,omitempty"`
}

type result struct {
	Answers      []answer          `json:"answers,omitempty"`
	Events       []json.RawMessage `json:"events,omitzero"`
	Deltas       []string          `json:"deltas,omitzero"`
	ToolCalls    []toolCall        `json:"tool_calls,omitzero"`
	Live         []json.RawMessage `json:"live,omitempty"`
	Speech       []json.RawMessage `json:"speech,omitempty"`
	Uploads      []json.RawMessage `json:"uploads,omitempty"`
	Models       []json.RawMessage `json:"models,omitempty"`
	MIMETypes    []string          `json:"mime_types,omitempty"`
	Conversation json.RawMessage   `json:"conversation,omitempty"`
	Stored       []map[string]any  `json:"stored,omitempty"`
	LastTurn     int32             `json:"last_turn,omitempty"`
	Value        any               `json:"value,omitempty"`
	Partial      *answer           `json:"partial,omitempty"`
	Error        *failure          `json:"error,omitempty"`
	Elapsed      int64             `json:"elapsed_ms"`
}

type toolCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type failure struct {
	Code               string            `json:"code"`
	Reason             string            `json:"reason,omitempty"`
	RawReason          string            `json:"raw_reason,omitempty"`
	Message            string            `json:"message,omitempty"`
	OutputStarted      bool              `json:"output_started"`
	Retryable          bool              `json:"retryable"`
	Headers            map[string]string `json:"headers,omitempty"`
	Usage              json.RawMessage   `json:"usage,omitempty"`
	UpstreamCode       string            `json:"upstream_code,omitempty"`
	UpstreamHTTPStatus int               `json:"upstream_http_status,omitempty"`
	UpstreamRequestID  string            `json:"upstream_request_id,omitempty"`
	Model              string            `json:"model,omitempty"`
	RequestID          string            `json:"request_id,omitempty"`
	Attempts           int               `json:"attempts,omitempty"`
	RetryAfter         *int64            `json:"retry_after_ms,omitempty"`
	FieldViolations    []violation       `json:"field_violations,omitempty"`
}

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// answered records an answer or an error.
func (p *player) answered(from *dashgate.Answer, err error) error {
	if err != nil {
		return err
	}
	result, err := answerOf(from)
	if err != nil {
		return err
	}
	result.Headers = from.Headers
	p.result.Answers = append(p.result.Answers, *result)
	return nil
}

// failed records what a stream received before it failed.
func (p *player) failed(stream *dashgate.Stream, failed error) error {
	if partial := stream.Partial(); partial != nil {
		answer, err := answerOf(partial)
		if err != nil {
			return err
		}
		p.result.Partial = answer
	}
	return failed
}

func answerOf(from *dashgate.Answer) (_ *answer, err error) {
	result := &answer{
		Text:              from.Text(),
		ReasoningText:     from.ReasoningText(),
		FinishReason:      int32(from.FinishReason()),
		RawFinishReason:   from.RawFinishReason(),
		AudioBytes:        len(from.Audio()),
		AudioCRC32:        crc32.ChecksumIEEE(from.Audio()),
		ToolCalls:         []json.RawMessage{},
		RequestID:         from.RequestID(),
		UpstreamRequestID: from.UpstreamRequestID(),
		Model:             from.Model(),
	}
	if name, known := dashgatev1.FinishReason_name[int32(from.FinishReason())]; known {
		result.FinishReason = name
	}
	for _, call := range from.ToolCalls() {
		plain, err := plainly(call)
		if err != nil {
			return nil, err
		}
		result.ToolCalls = append(result.ToolCalls, plain)
	}
	if result.Usage, err = plainly(from.Usage()); err != nil {
		return nil, err
	}
	if result.Message, err = plainly(from.Message()); err != nil {
		return nil, err
	}
	result.Raw, err = plainly(from.Raw)
	return result, err
}

// listed records a model or an error.
func (p *player) listed(from *dashgatev1.Model, err error) error {
	if err != nil {
		return err
	}
	model, err := plainly(from)
	if err != nil {
		return err
	}
	p.result.Models = append(p.result.Models, model)
	return nil
}

func failureOf(from *dashgate.Error) (*failure, error) {
	if from.Code == codes.Canceled && errors.Is(from, context.Canceled) {
		return &failure{Code: "CANCELLED"}, nil
	}
	failure := &failure{
		Code:               code.Code_name[int32(from.Code)],
		RawReason:          from.RawReason,
		Message:            from.Message,
		OutputStarted:      from.OutputStarted,
		Retryable:          from.Retryable,
		Headers:            from.Headers,
		Model:              from.Model,
		UpstreamCode:       from.UpstreamCode,
		UpstreamHTTPStatus: from.UpstreamHTTPStatus,
		UpstreamRequestID:  from.UpstreamRequestID,
		RequestID:          from.RequestID,
		Attempts:           from.Attempts,
	}
	if from.Reason != dashgatev1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		failure.Reason = dashgatev1.ErrorReason_name[int32(from.Reason)]
	}
	if from.Usage != nil {
		usage, err := plainly(from.Usage)
		if err != nil {
			return nil, err
		}
		failure.Usage = usage
	}
	if after, there := from.RetryAfter(); there {
		milliseconds := after.Milliseconds()
		failure.RetryAfter = &milliseconds
	}
	for _, wrong := range from.FieldViolations {
		failure.FieldViolations = append(failure.FieldViolations, violation{wrong.Field, wrong.Description})
	}
	return failure, nil
}

// plainly returns the proto3 JSON of a message.
func plainly(message proto.Message) (json.RawMessage, error) {
	text, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, text)
	return compact.Bytes(), err
}
