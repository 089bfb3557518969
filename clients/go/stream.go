package dashgate

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Stream is a streamed answer. It is read once, by one goroutine. Read it to its end or close it;
// leaving a loop over it also closes it.
type Stream struct {
	// RequestID is the request id of the call.
	RequestID string

	ctx    context.Context
	cancel context.CancelCauseFunc
	free   context.CancelFunc
	events grpc.ServerStreamingClient[dashgatev1.ConverseStreamResponse]
	idle   time.Duration
	timer  *time.Timer
	fold   fold
	end    error
}

// Stream returns the next answer as a stream. Errors are returned when the stream is read. There is
// no deadline by default.
func (c *Client) Stream(
	ctx context.Context, conversation *Conversation, options ...CallOption,
) *Stream {
	call := c.newCall(options)
	request := &dashgatev1.ConverseStreamRequest{
		Conversation: conversation.Raw, Options: call.options, RequestId: call.requestID,
	}
	ctx, free := withTimeout(ctx, call.timeout, c.settings.timeout, 0)
	ctx, cancel := context.WithCancelCause(ctx)
	stream := &Stream{
		RequestID: call.requestID, ctx: ctx, cancel: cancel, free: free, idle: c.settings.idleTimeout,
	}
	stream.timer = time.AfterFunc(stream.idle, func() { cancel(errIdle) })
	var err error
	stream.events, err = c.Conversations().ConverseStream(c.Outgoing(ctx, call.metadata), request)
	stream.timer.Stop()
	if err != nil {
		stream.fail(err)
	}
	return stream
}

// Events returns an iterator over the events; an error is the last item. Leaving the loop cancels
// the call.
func (s *Stream) Events() iter.Seq2[*dashgatev1.ConverseStreamResponse, error] {
	return func(yield func(*dashgatev1.ConverseStreamResponse, error) bool) {
		defer s.Close()
		for {
			event, err := s.Recv()
			if errors.Is(err, io.EOF) || !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// TextDeltas returns an iterator over the text deltas of the first choice; an error is the last
// item. Leaving the loop cancels the call.
func (s *Stream) TextDeltas() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for event, err := range s.Events() {
			delta := event.GetDelta()
			text := delta.GetText()
			if err == nil && (delta.GetChoiceIndex() != 0 || text == "") {
				continue
			}
			if !yield(text, err) {
				return
			}
		}
	}
}

// Final reads the remaining events and returns the complete answer.
func (s *Stream) Final() (*Answer, error) {
	for {
		switch _, err := s.Recv(); {
		case errors.Is(err, io.EOF):
			return &Answer{Raw: s.fold.response()}, nil
		case err != nil:
			return nil, err
		}
	}
}

// Recv returns the next event, or io.EOF after the last.
func (s *Stream) Recv() (*dashgatev1.ConverseStreamResponse, error) {
	if s.end != nil {
		return nil, s.end
	}
	s.timer.Reset(s.idle)
	event, err := s.events.Recv()
	s.timer.Stop()
	if err == nil {
		s.fold.add(event)
		return event, nil
	}
	s.fail(err)
	return nil, s.end
}

// Close closes the stream, and cancels the call if it has not ended.
func (s *Stream) Close() {
	if s.end == nil {
		s.cancel(context.Canceled)
		// gRPC releases the call when its end has been read.
		for s.end == nil {
			_, _ = s.Recv()
		}
	}
}

// fail records how the stream ended.
func (s *Stream) fail(err error) {
	switch {
	case errors.Is(err, io.EOF) && !s.fold.complete:
		s.end = truncatedError(s.RequestID)
	case errors.Is(err, io.EOF):
		s.end = io.EOF
	case errors.Is(context.Cause(s.ctx), errIdle):
		s.end = idleError(s.idle, s.RequestID)
	case s.events == nil:
		s.end = newError(s.ctx, err, nil, s.RequestID)
	default:
		s.end = newError(s.ctx, err, s.events.Trailer(), s.RequestID)
	}
	if failed, ok := s.end.(*Error); ok && s.fold.hasOutput {
		failed.OutputStarted = true
	}
	s.timer.Stop()
	s.cancel(nil)
	s.free()
}
