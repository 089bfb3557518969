package dashgate

import (
	"bytes"
	"strings"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Answer is the complete answer of a model. Its methods return values of the first choice, which is
// the only one unless the options requested more. Of an answer that is nil, such as Partial returns
// before the first event, they are empty.
type Answer struct {
	// Raw is the response of the schema.
	Raw *dashgatev1.ConverseResponse
	// Headers are the metadata and the trailers of the response: names in lower case, without binary
	// ones.
	Headers map[string]string
}

// Text returns the text of the answer, without reasoning.
func (a *Answer) Text() string {
	var text strings.Builder
	for _, part := range a.Message().GetContent() {
		text.WriteString(part.GetText())
	}
	return text.String()
}

// ReasoningText returns the reasoning of the answer.
func (a *Answer) ReasoningText() string { return a.Message().GetReasoningText() }

// Message returns the answer as a message, for Conversation.Append.
func (a *Answer) Message() *dashgatev1.Message { return a.first().GetMessage() }

// ToolCalls returns the tool calls of the answer.
func (a *Answer) ToolCalls() []*dashgatev1.ToolCall { return a.Message().GetToolCalls() }

// Audio returns the audio of the answer: 16-bit little-endian mono PCM at 24 kHz by default. The
// MIME type of its part names another format.
func (a *Answer) Audio() []byte {
	var audio bytes.Buffer
	for _, part := range a.Message().GetContent() {
		audio.Write(part.GetAudio().GetData())
	}
	return audio.Bytes()
}

// FinishReason returns why the answer ended. A number without a name is a reason of a newer
// gateway.
func (a *Answer) FinishReason() dashgatev1.FinishReason { return a.first().GetFinishReason() }

// RawFinishReason returns the finish reason as received from DashScope.
func (a *Answer) RawFinishReason() string { return a.first().GetRawFinishReason() }

// Choices returns all choices.
func (a *Answer) Choices() []*dashgatev1.Choice { return a.response().GetChoices() }

// Usage returns the usage of the call, as counted by DashScope.
func (a *Answer) Usage() *dashgatev1.Usage { return a.response().GetUsage() }

// Timing returns how long the call took, as measured by the gateway.
func (a *Answer) Timing() *dashgatev1.Timing { return a.response().GetTiming() }

// Warnings returns the warnings, for example that audio was truncated. Usually empty.
func (a *Answer) Warnings() []*dashgatev1.Warning { return a.response().GetWarnings() }

// Model returns the model that answered, after the gateway's mapping.
func (a *Answer) Model() string { return a.response().GetModel() }

// RequestID returns the request id, as in the gateway's log.
func (a *Answer) RequestID() string { return a.response().GetRequestId() }

// UpstreamRequestID returns DashScope's request id, for its support.
func (a *Answer) UpstreamRequestID() string { return a.response().GetUpstreamRequestId() }

func (a *Answer) first() *dashgatev1.Choice {
	if choices := a.response().GetChoices(); len(choices) > 0 {
		return choices[0]
	}
	return nil
}

// response returns the response, of which an answer that is nil has none.
func (a *Answer) response() *dashgatev1.ConverseResponse {
	if a == nil {
		return nil
	}
	return a.Raw
}
