package dashgate

import (
	"context"
	"iter"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// LiveSession is a spoken conversation. One goroutine may send while another one receives. If the
// connection breaks, the session is resumed; an event SessionStarted with Resumed then shows that
// the input of that moment may be lost. Close it.
//
// The methods that send wait while the gateway accepts no more. Their errors are an *Error, or
// ErrSessionEnded.
type LiveSession struct {
	live[dashgatev1.ConverseLiveRequest, dashgatev1.ConverseLiveResponse, *dashgatev1.ConverseLiveResponse]
}

// Live opens a spoken conversation. Errors are returned when it is read. The context and WithTimeout
// are for the whole session; there is no deadline by default.
func (c *Client) Live(
	ctx context.Context, setup *dashgatev1.LiveSetup, options ...CallOption,
) *LiveSession {
	s := new(LiveSession)
	s.prepare(ctx, c, "ConverseLive", setup, options)
	s.open = func(ctx context.Context) (
		liveStream[dashgatev1.ConverseLiveRequest, dashgatev1.ConverseLiveResponse], error,
	) {
		return c.Sessions().ConverseLive(ctx)
	}
	s.first = func(resume *dashgatev1.ResumeSession) *dashgatev1.ConverseLiveRequest {
		first := setup
		if resume != nil {
			first = &dashgatev1.LiveSetup{Resume: resume}
		}
		return &dashgatev1.ConverseLiveRequest{
			Event: &dashgatev1.ConverseLiveRequest_Setup{Setup: first},
		}
	}
	s.start(setup.GetResume())
	return s
}

// SendAudio sends the next piece of audio, in the format of the setup. 100 ms are usual.
func (s *LiveSession) SendAudio(audio []byte) error {
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_Audio{Audio: audio},
	})
}

// SendImage sends an image, JPEG, for the turn that is being spoken. Audio must precede it.
func (s *LiveSession) SendImage(image []byte) error {
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_Image{Image: image},
	})
}

// SendText sends a text message. CreateResponse requests the answer.
func (s *LiveSession) SendText(text string) error {
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_Text{Text: text},
	})
}

// Commit ends the turn, if turns are manual.
func (s *LiveSession) Commit() error {
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_Commit{Commit: new(dashgatev1.CommitInput)},
	})
}

// Clear discards audio and images that are not committed.
func (s *LiveSession) Clear() error {
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_Clear{Clear: new(dashgatev1.ClearInput)},
	})
}

// CreateResponse requests a response. instructions and modalities replace those of the session;
// they may be empty.
func (s *LiveSession) CreateResponse(instructions string, modalities ...string) error {
	create := &dashgatev1.CreateResponse{Instructions: instructions, Modalities: modalities}
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_CreateResponse{CreateResponse: create},
	})
}

// CancelResponse cancels the running response. Nothing of it follows its ResponseCompleted.
func (s *LiveSession) CancelResponse() error {
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_CancelResponse{
			CancelResponse: new(dashgatev1.CancelResponse),
		},
	})
}

// SendToolResult sends the result of a tool call. CreateResponse requests the answer.
func (s *LiveSession) SendToolResult(toolCallID, output string) error {
	result := &dashgatev1.ToolResult{ToolCallId: toolCallID, Output: output}
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_ToolResult{ToolResult: result},
	})
}

// Update changes the configuration. What is not set stays.
func (s *LiveSession) Update(update *dashgatev1.UpdateSession) error {
	if update == nil {
		return nilArgument("update", s.requestID)
	}
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_Update{Update: update},
	})
}

// DeleteItem removes an item of the conversation.
func (s *LiveSession) DeleteItem(itemID string) error {
	item := &dashgatev1.DeleteItem{ItemId: itemID}
	return s.send(&dashgatev1.ConverseLiveRequest{
		Event: &dashgatev1.ConverseLiveRequest_DeleteItem{DeleteItem: item},
	})
}

// SpeechSession speaks text while it is written. Use it as a LiveSession.
type SpeechSession struct {
	live[dashgatev1.SynthesizeLiveRequest, dashgatev1.SynthesizeLiveResponse, *dashgatev1.SynthesizeLiveResponse]
}

// Speak opens a session that speaks text while it is written. It is as Live otherwise.
func (c *Client) Speak(
	ctx context.Context, setup *dashgatev1.SynthesisSetup, options ...CallOption,
) *SpeechSession {
	s := new(SpeechSession)
	s.prepare(ctx, c, "SynthesizeLive", setup, options)
	s.open = func(ctx context.Context) (
		liveStream[dashgatev1.SynthesizeLiveRequest, dashgatev1.SynthesizeLiveResponse], error,
	) {
		return c.Sessions().SynthesizeLive(ctx)
	}
	s.first = func(resume *dashgatev1.ResumeSession) *dashgatev1.SynthesizeLiveRequest {
		first := setup
		if resume != nil {
			first = &dashgatev1.SynthesisSetup{Resume: resume}
		}
		return &dashgatev1.SynthesizeLiveRequest{
			Event: &dashgatev1.SynthesizeLiveRequest_Setup{Setup: first},
		}
	}
	s.start(setup.GetResume())
	return s
}

// SendText sends the next piece of the text.
func (s *SpeechSession) SendText(text string) error {
	return s.send(&dashgatev1.SynthesizeLiveRequest{
		Event: &dashgatev1.SynthesizeLiveRequest_Text{Text: text},
	})
}

// Commit speaks the text so far. It is required with SYNTHESIS_MODE_COMMIT.
func (s *SpeechSession) Commit() error {
	return s.send(&dashgatev1.SynthesizeLiveRequest{
		Event: &dashgatev1.SynthesizeLiveRequest_Commit{Commit: new(dashgatev1.CommitText)},
	})
}

// Clear discards text that is not spoken yet.
func (s *SpeechSession) Clear() error {
	return s.send(&dashgatev1.SynthesizeLiveRequest{
		Event: &dashgatev1.SynthesizeLiveRequest_Clear{Clear: new(dashgatev1.ClearText)},
	})
}

// Audio returns an iterator over the audio of the remaining events; an error is the last item.
func (s *SpeechSession) Audio() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for event, err := range s.Events() {
			audio := event.GetResponseDelta().GetAudio()
			if err == nil && len(audio) == 0 {
				continue
			}
			if !yield(audio, err) {
				return
			}
		}
	}
}
