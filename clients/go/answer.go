package dashgate

import (
	"bytes"
	"strings"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Answer is what the model answered. Its short names are of the first choice, which is the only one
// unless the options asked for more.
type Answer struct {
	// Raw is the whole message, with all that has no short name.
	Raw *dashgatev1.ConverseResponse
}

// Text is all that was said, without the thoughts.
func (a *Answer) Text() string {
	var text strings.Builder
	for _, part := range a.Message().GetContent() {
		text.WriteString(part.GetText())
	}
	return text.String()
}

// ReasoningText is the reasoning of the answer.
func (a *Answer) ReasoningText() string { return a.Message().GetReasoningText() }

// Message is the answer as a message, to be appended to the conversation.
func (a *Answer) Message() *dashgatev1.Message { return a.first().GetMessage() }

// ToolCalls are the tools that the model asks for.
func (a *Answer) ToolCalls() []*dashgatev1.ToolCall { return a.Message().GetToolCalls() }

// Audio is the audio of the answer: 16-bit little-endian mono PCM at 24 kHz by default.
func (a *Answer) Audio() []byte {
	var audio bytes.Buffer
	for _, part := range a.Message().GetContent() {
		audio.Write(part.GetAudio().GetData())
	}
	return audio.Bytes()
}

// FinishReason is why the answer ended. A number that has no name is of a newer gateway.
func (a *Answer) FinishReason() dashgatev1.FinishReason { return a.first().GetFinishReason() }

// RawFinishReason is the finish reason as received from DashScope.
func (a *Answer) RawFinishReason() string { return a.first().GetRawFinishReason() }

// Choices are all the answers.
func (a *Answer) Choices() []*dashgatev1.Choice { return a.Raw.GetChoices() }

// Usage is what the call used, as DashScope counted.
func (a *Answer) Usage() *dashgatev1.Usage { return a.Raw.GetUsage() }

// Timing is how long the call took, as the gateway saw it.
func (a *Answer) Timing() *dashgatev1.Timing { return a.Raw.GetTiming() }

// Warnings are what the caller should know about the answer, for example that audio was cut. There
// are usually none.
func (a *Answer) Warnings() []*dashgatev1.Warning { return a.Raw.GetWarnings() }

// Model is the model that answered.
func (a *Answer) Model() string { return a.Raw.GetModel() }

// RequestID is the request id, as in the gateway's log.
func (a *Answer) RequestID() string { return a.Raw.GetRequestId() }

// UpstreamRequestID is DashScope's request id, for its support.
func (a *Answer) UpstreamRequestID() string { return a.Raw.GetUpstreamRequestId() }

func (a *Answer) first() *dashgatev1.Choice {
	if choices := a.Raw.GetChoices(); len(choices) > 0 {
		return choices[0]
	}
	return nil
}
