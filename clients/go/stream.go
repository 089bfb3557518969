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
	record  *callRecord

	ctx    context.Context
	cancel context.CancelCauseFunc
	free   context.CancelFunc
	events grpc.ServerStreamingClient[dashgatev1.ConverseStreamResponse]
	idle   time.Duration
	timer  *time.Timer
	// sent is whether the gateway may have the call: before, there is none that must be ended.
	sent bool
	// received is whether there was an event. Before, a call that is throttled is made again.
	received   bool
	throttling throttling
	retries    int
	// metadata is that of the connection that is read.
	metadata responseMetadata
	fold     fold
	end      error
}

// Stream returns the next answer as a stream. Errors are returned when the stream is read. There is
// no deadline by default. A stream whose connection is lost continues on another one: see WithResume.
// Large files of the conversation are uploaded before this returns, within the deadline.
func (c *Client) Stream(
	ctx context.Context, conversation *Conversation, options ...CallOption,
) *Stream {
	call := c.newCall(options)
	if refused := call.refuseConversation(ctx, conversation); refused != nil {
		return &Stream{RequestID: call.requestID, ctx: context.Background(), end: refused}
	}
	resume := !call.noResume
	request := &dashgatev1.ConverseStreamRequest{
		Options: call.options, RequestId: call.requestID, Resumable: resume,
		ExpectedTurn: conversation.expectedTurn(&call), History: call.history,
	}
	ctx, record := c.log.begin(ctx, "ConverseStream", call.requestID)
	ctx, free := withTimeout(ctx, call.timeout, c.settings.timeout, 0)
	ctx, cancel := context.WithCancelCause(ctx)
	stream := &Stream{
		RequestID: call.requestID, client: c, request: request, record: record,
		state: resumption{wanted: resume, named: call.isNamed}, throttling: c.newThrottling(&call),
		ctx: c.Outgoing(ctx, call.metadata), cancel: cancel, free: free, idle: c.settings.idleTimeout,
	}
	stream.timer = time.AfterFunc(stream.idle, func() { cancel(errIdle) })
	stream.timer.Stop()
	var err error
	if request.Conversation, err = c.uploaded(ctx, conversation.Raw, &call); err != nil {
		stream.finish(err)
	} else if err = stream.open(); err != nil {
		stream.recover(err)
	}
	return stream
}

// Events returns an iterator over the events; an error is the last item. Leaving the loop cancels
// the call.
func (s *Stream) Events() iter.Seq2[*dashgatev1.ConverseStreamResponse, error] {
	return received(s.Recv, s.Close)
}

// TextDeltas returns an iterator over the text deltas of the first choice; an error is the last
// item. Leaving the loop cancels the call.
func (s *Stream) TextDeltas() iter.Seq2[string, error] { return textDeltas(s.Events()) }

// Final reads the remaining events and returns the complete answer.
func (s *Stream) Final() (*Answer, error) {
	for {
		switch _, err := s.Recv(); {
		case errors.Is(err, io.EOF):
			return &Answer{Raw: s.fold.response(), Headers: s.Headers()}, nil
		case err != nil:
			return nil, err
		}
	}
}

// Resumes is how often this stream was tried to be resumed.
func (s *Stream) Resumes() int { return s.state.resumes }

// Headers returns the metadata of the response, and its trailers once the stream has ended: names in
// lower case, without binary ones. It is empty before the first event.
func (s *Stream) Headers() map[string]string { return s.metadata.texts() }

// Partial returns the answer that is assembled from the events so far, also after an error, a break
// or a cancellation. Its choices have no finish reason before the stream is complete. It is nil
// before the first event other than a heartbeat.
func (s *Stream) Partial() *Answer {
	if !s.fold.begun {
		return nil
	}
	return &Answer{Raw: s.fold.response(), Headers: s.Headers()}
}

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
		s.received = true
		if s.metadata.header == nil {
			// They precede the first event, so this does not wait; its error would be that of reading.
			s.metadata.header, _ = s.events.Header()
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
	if s.end != nil {
		return
	}
	// The client is not closed before the gateway knows.
	s.client.leavings.begin()
	defer s.client.leavings.end()
	s.cancel(context.Canceled)
	// gRPC releases the call when its end has been read. What comes until then is not of the answer.
	for {
		event, err := s.events.Recv()
		if err != nil {
			break
		}
		if event.GetCompleted() != nil {
			// There is no call any more that must be ended.
			s.state.wanted = false
		}
	}
	s.finish(contextError(s.ctx, s.RequestID))
}

// ending is the end of the stream after this error: an *Error or io.EOF.
func (s *Stream) ending(err error) error {
	switch {
	case errors.Is(err, io.EOF) && !s.fold.complete:
		return truncatedError(s.RequestID)
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(context.Cause(s.ctx), errIdle) && !errors.As(err, new(*lateError)):
		return idleError(s.idle, s.RequestID)
	default:
		return newError(s.ctx, err, s.metadata, s.RequestID)
	}
}

// finish records how the stream ended.
func (s *Stream) finish(end error) {
	s.end = end
	if failed, ok := end.(*Error); ok {
		failed.OutputStarted = failed.OutputStarted || s.fold.hasOutput
		if s.sent && !s.fold.complete && s.state.mustLeave(s.ctx, failed) {
			s.client.leave(s.ctx, s.RequestID)
		}
	}
	s.timer.Stop()
	s.cancel(nil)
	s.free()
	s.record.end(end)
}
