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

	client  *Client
	request *dashgatev1.ConverseStreamRequest
	state   resumption

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
// no deadline by default. A stream whose connection is lost continues on another one: see WithResume.
func (c *Client) Stream(
	ctx context.Context, conversation *Conversation, options ...CallOption,
) *Stream {
	call := c.newCall(options)
	resume := !call.noResume
	request := &dashgatev1.ConverseStreamRequest{
		Conversation: conversation.Raw, Options: call.options, RequestId: call.requestID, Resumable: resume,
	}
	ctx, free := withTimeout(ctx, call.timeout, c.settings.timeout, 0)
	ctx, cancel := context.WithCancelCause(ctx)
	stream := &Stream{
		RequestID: call.requestID, client: c, request: request,
		state: resumption{wanted: resume, named: call.isNamed},
		ctx:   c.Outgoing(ctx, call.metadata), cancel: cancel, free: free, idle: c.settings.idleTimeout,
	}
	stream.timer = time.AfterFunc(stream.idle, func() { cancel(errIdle) })
	if err := stream.open(); err != nil {
		stream.recover(err)
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

// Resumes is how often this stream was tried to be resumed.
func (s *Stream) Resumes() int { return s.state.resumes }

// Recv returns the next event, or io.EOF after the last.
func (s *Stream) Recv() (*dashgatev1.ConverseStreamResponse, error) {
	for s.end == nil {
		s.timer.Reset(s.idle)
		event, err := s.events.Recv()
		s.timer.Stop()
		if err != nil {
			s.recover(err)
			continue
		}
		isNew, err := s.state.isNew(event)
		if err != nil {
			s.finish(s.state.broken)
			continue
		}
		if isNew {
			s.fold.add(event)
			return event, nil
		}
	}
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

// ending is the end of the stream after this error: an *Error or io.EOF.
func (s *Stream) ending(err error) error {
	switch {
	case errors.Is(err, io.EOF) && !s.fold.complete:
		return truncatedError(s.RequestID)
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(context.Cause(s.ctx), errIdle):
		return idleError(s.idle, s.RequestID)
	case s.events == nil:
		return newError(s.ctx, err, nil, s.RequestID)
	default:
		return newError(s.ctx, err, s.events.Trailer(), s.RequestID)
	}
}

// finish records how the stream ended.
func (s *Stream) finish(end error) {
	s.end = end
	if failed, ok := end.(*Error); ok {
		failed.OutputStarted = failed.OutputStarted || s.fold.hasOutput
		if !s.fold.complete && s.state.mustLeave(s.ctx, failed) {
			s.client.leave(s.ctx, s.RequestID)
		}
	}
	s.timer.Stop()
	s.cancel(nil)
	s.free()
}
