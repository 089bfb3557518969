package dashgate

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// ErrSessionEnded is the error of a message for a live session that has ended, or whose input is
// finished.
var ErrSessionEnded = errors.New("the session has ended, or its input is finished")

// liveEvent is what the events of both kinds of sessions have.
type liveEvent interface {
	GetSequence() int32
	GetSessionStarted() *dashgatev1.SessionStarted
	GetResponseDelta() *dashgatev1.ResponseDelta
	GetSessionEnded() *dashgatev1.SessionEnded
}

// liveStream is a stream of one session. A session outlives its streams: if the connection breaks,
// it is resumed on a new stream, after the last event that was received.
type liveStream[Request, Response any] = grpc.BidiStreamingClient[Request, Response]

// live is the state of a session. Event is *Response.
type live[Request, Response any, Event interface {
	*Response
	liveEvent
}] struct {
	requestID string
	record    *callRecord
	ctx       context.Context
	cancel    context.CancelFunc
	open      func(context.Context) (liveStream[Request, Response], error)
	first     func(*dashgatev1.ResumeSession) *Request
	resumes   atomic.Int64
	// refusal is the error of an argument, with which no stream is opened.
	refusal *Error

	// sending is held while a message is sent.
	sending sync.Mutex
	// These are of the goroutine that receives.
	attempts  int
	broken    *Error
	hasOutput bool

	// state protects what follows. It is held for moments only.
	state   sync.Mutex
	changed sync.Cond
	// receiving is whether a goroutine receives events, or resumes the session.
	receiving bool
	// unread is what a stream that takes no more messages still had: the start of the session and of
	// its latest stream or, if the session has ended, what precedes the end.
	unread   []Event
	stream   liveStream[Request, Response]
	finished bool
	end      error
	ended    *dashgatev1.SessionEnded
	// What another stream needs to continue the session.
	sessionID, token string
	sequence         int32
}

// prepare makes the context of the session.
func (l *live[Request, Response, Event]) prepare(
	ctx context.Context, c *Client, method string, setup any, options []CallOption,
) {
	call := c.newCall(options)
	l.requestID = call.requestID
	if l.refusal = call.refuse(ctx); l.refusal == nil && isNil(setup) {
		l.refusal = nilArgument("setup", call.requestID)
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, l.record = c.log.begin(ctx, method, call.requestID)
	ctx, l.cancel = withTimeout(ctx, call.timeout, c.settings.timeout, 0)
	l.ctx = c.Outgoing(ctx, call.withRequestID())
}

// start opens the first stream. Errors are returned when the session is read.
func (l *live[Request, Response, Event]) start(given *dashgatev1.ResumeSession) {
	if given != nil {
		l.sessionID, l.token, l.sequence = given.GetSessionId(), given.GetToken(), given.GetLastSequence()
	}
	l.changed.L = &l.state
	if l.refusal != nil {
		l.stop(l.refusal)
		return
	}
	l.claim(nil)
	defer l.release()
	if err := l.dial(); err != nil {
		l.recover(newError(l.ctx, err, responseMetadata{}, l.requestID))
	}
}

// dial opens a stream.
func (l *live[Request, Response, Event]) dial() error {
	stream, err := l.open(l.ctx)
	if err != nil {
		return err
	}
	// If it has ended already, reading reports the status.
	if err := stream.Send(l.first(l.Resumption())); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	l.state.Lock()
	l.stream = stream
	l.changed.Broadcast()
	finished := l.finished
	l.state.Unlock()
	if finished {
		_ = stream.CloseSend()
	}
	return nil
}

// claim waits for the right to receive. For a stream that takes no more messages, it is false if
// the session has ended or another stream continues it. A reader may wait for events of that one, so
// a sender must not wait for the reader.
func (l *live[Request, Response, Event]) claim(broken liveStream[Request, Response]) bool {
	l.state.Lock()
	defer l.state.Unlock()
	for {
		if broken != nil && (l.end != nil || l.stream != broken) {
			return false
		}
		if !l.receiving {
			l.receiving = true
			return true
		}
		l.changed.Wait()
	}
}

func (l *live[Request, Response, Event]) release() {
	l.state.Lock()
	defer l.state.Unlock()
	l.receiving = false
	l.changed.Broadcast()
}

func (l *live[Request, Response, Event]) current() (liveStream[Request, Response], error) {
	l.state.Lock()
	defer l.state.Unlock()
	return l.stream, l.end
}

// RequestID is the request id of the session.
func (l *live[Request, Response, Event]) RequestID() string { return l.requestID }

// SessionID is the id of the session. It is empty until the first event was read.
func (l *live[Request, Response, Event]) SessionID() string {
	l.state.Lock()
	defer l.state.Unlock()
	return l.sessionID
}

// Resumes is how often this session was tried to be resumed.
func (l *live[Request, Response, Event]) Resumes() int { return int(l.resumes.Load()) }

// Ended is the last event, with usage and durations. It is nil until it was read.
func (l *live[Request, Response, Event]) Ended() *dashgatev1.SessionEnded {
	l.state.Lock()
	defer l.state.Unlock()
	return l.ended
}

// Resumption is what a setup needs to continue the session elsewhere after the last event; nil
// until the first event was read. A stream that continues the session ends this one with ABORTED.
func (l *live[Request, Response, Event]) Resumption() *dashgatev1.ResumeSession {
	l.state.Lock()
	defer l.state.Unlock()
	if l.token == "" {
		return nil
	}
	return &dashgatev1.ResumeSession{SessionId: l.sessionID, Token: l.token, LastSequence: l.sequence}
}

// Recv returns the next event, or io.EOF after the last. One goroutine may receive while another
// one sends.
func (l *live[Request, Response, Event]) Recv() (Event, error) {
	l.claim(nil)
	defer l.release()
	for {
		if event := l.takeUnread(); event != nil {
			return event, nil
		}
		stream, end := l.current()
		if end != nil {
			return nil, end
		}
		if event := l.receive(stream); event != nil {
			return event, nil
		}
	}
}

// takeUnread returns the oldest event that a sender received, or nil.
func (l *live[Request, Response, Event]) takeUnread() Event {
	l.state.Lock()
	defer l.state.Unlock()
	if len(l.unread) == 0 {
		return nil
	}
	event := l.unread[0]
	l.unread = l.unread[1:]
	return event
}

// Events returns an iterator over the events; an error is the last item. Leaving the loop does not
// end the session.
func (l *live[Request, Response, Event]) Events() iter.Seq2[Event, error] {
	return received(l.Recv, func() {})
}

// Finish ends the input. Running responses complete, then the session ends. Read its events.
func (l *live[Request, Response, Event]) Finish() error {
	l.sending.Lock()
	defer l.sending.Unlock()
	l.state.Lock()
	l.finished = true
	stream := l.stream
	l.state.Unlock()
	if stream == nil {
		return nil
	}
	return stream.CloseSend()
}

// Close leaves the session. If it has not ended, the gateway ends it when the time to resume it is
// over, 30 seconds by default.
func (l *live[Request, Response, Event]) Close() {
	l.cancel()
	l.claim(nil)
	defer l.release()
	// gRPC releases a stream when its end has been read.
	for {
		stream, end := l.current()
		if end != nil {
			return
		}
		l.receive(stream)
	}
}

// send waits until flow control has accepted a message.
func (l *live[Request, Response, Event]) send(request *Request) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	for {
		l.state.Lock()
		stream, end, finished := l.stream, l.end, l.finished
		l.state.Unlock()
		switch {
		case finished:
			return ErrSessionEnded
		case end != nil:
			return l.refused(end)
		}
		err := stream.Send(request)
		if err == nil {
			return nil
		}
		if !errors.Is(err, io.EOF) {
			return newError(l.ctx, err, responseMetadata{}, l.requestID)
		}
		l.drain(stream)
	}
}

// refused is the error of a message for a session that has ended. While there are events that were
// not read, reading reports it, after them.
func (l *live[Request, Response, Event]) refused(end error) error {
	l.state.Lock()
	defer l.state.Unlock()
	switch {
	case len(l.unread) > 0:
		return nil
	case errors.Is(end, io.EOF):
		return ErrSessionEnded
	default:
		return end
	}
}

// receive returns the next event of a stream. It is nil if the event was received before, or if the
// stream has ended; the session is then resumed, or ended.
func (l *live[Request, Response, Event]) receive(stream liveStream[Request, Response]) Event {
	raw, err := stream.Recv()
	if err != nil {
		l.broke(stream, err)
	} else if event := Event(raw); l.isNew(event) {
		return event
	}
	return nil
}

// broke resumes the session after the end of a stream, or ends it.
func (l *live[Request, Response, Event]) broke(stream liveStream[Request, Response], err error) {
	switch {
	case !errors.Is(err, io.EOF):
		l.recover(newError(l.ctx, err, metadataOf(stream), l.requestID))
	case l.Ended() == nil:
		l.fail(truncatedError(l.requestID))
	default:
		l.stop(io.EOF)
	}
}

// isNew notes an event. It is false if the event was received on an earlier stream.
func (l *live[Request, Response, Event]) isNew(event Event) bool {
	l.state.Lock()
	defer l.state.Unlock()
	if started := event.GetSessionStarted(); started != nil {
		l.sessionID = started.GetSessionId()
		if token := started.GetResumeToken(); token != "" {
			l.token = token
		}
		// A resumed stream starts with the number of the last event that was received.
		l.sequence = max(l.sequence, event.GetSequence())
		return true
	}
	// Whatever follows the start is progress.
	l.attempts, l.broken = 0, nil
	if sequence := event.GetSequence(); sequence != 0 && sequence <= l.sequence {
		return false
	}
	l.sequence = event.GetSequence()
	l.hasOutput = l.hasOutput || event.GetResponseDelta() != nil
	if ended := event.GetSessionEnded(); ended != nil {
		l.ended = ended
	}
	return true
}

func (l *live[Request, Response, Event]) fail(failed *Error) {
	failed.OutputStarted = failed.OutputStarted || l.hasOutput
	if failed.Usage == nil && l.broken != nil {
		failed.Usage = l.broken.Usage
	}
	l.stop(failed)
}

func (l *live[Request, Response, Event]) stop(end error) {
	l.state.Lock()
	l.end = end
	l.changed.Broadcast()
	l.state.Unlock()
	l.cancel()
	l.record.end(end)
}
