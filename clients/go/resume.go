package dashgate

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	grpcmetadata "google.golang.org/grpc/metadata"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// leaveLimit is the deadline of the call that ends a call whose stream was left. The gateway ends it
// by itself after some seconds.
const leaveLimit = 2 * time.Second

// resumableKey is the metadata of a response whose stream can be resumed.
const resumableKey = "dashgate-resumable"

// CancelCall ends a running call of this caller, whatever process made it, by its request id. Its
// streams end with ABORTED and the reason CALL_CANCELLED. The error is an *Error; its reason is
// CALL_NOT_FOUND if no call with this request id is running. The default deadline is 10 minutes.
func (c *Client) CancelCall(ctx context.Context, requestID string, options ...CallOption) error {
	call := c.newCall(options)
	if refused := call.refuse(ctx); refused != nil {
		return refused
	}
	ctx, cancel := withTimeout(ctx, call.timeout, c.settings.timeout, unaryTimeout)
	defer cancel()
	ctx, record := c.log.begin(c.Outgoing(ctx, call.metadata), "CancelCall", requestID)
	err := c.cancelCall(ctx, requestID)
	record.end(err)
	return err
}

func (c *Client) cancelCall(ctx context.Context, requestID string) error {
	request := &dashgatev1.CancelCallRequest{RequestId: requestID}
	if _, _, failed := unary(ctx, c.Calls().CancelCall, request, requestID); failed != nil {
		return failed
	}
	return nil
}

// leave ends a call whose stream was left, without waiting. ctx has the metadata of the call.
func (c *Client) leave(ctx context.Context, requestID string) {
	c.leavings.begin()
	go func() {
		defer c.leavings.end()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
		defer cancel()
		_ = c.cancelCall(unrecorded(ctx), requestID)
	}()
}

// leavings counts the streams that are being left, for which the end of the client waits.
type leavings struct {
	lock    sync.Mutex
	running int
	// none is closed when none is left, if something waits for that.
	none chan struct{}
}

func (l *leavings) begin() {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.running++
}

func (l *leavings) end() {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.running--; l.running == 0 && l.none != nil {
		close(l.none)
		l.none = nil
	}
}

// wait waits until none is left, but at most for a time.
func (l *leavings) wait(limit time.Duration) {
	l.lock.Lock()
	if l.running == 0 {
		l.lock.Unlock()
		return
	}
	if l.none == nil {
		l.none = make(chan struct{})
	}
	none := l.none
	l.lock.Unlock()
	select {
	case <-none:
	case <-time.After(limit):
	}
}

// resumption is the state of a stream across its connections. If one is lost, the stream continues
// on another, after the last event that was received.
type resumption struct {
	// wanted is whether the caller wants it, can is whether the gateway does it.
	wanted, can bool
	// named is whether the caller chose the request id, so that the call may have other readers.
	named bool
	// started is whether the gateway has begun to answer.
	started  bool
	sequence int32
	resumes  int
	// attempts is how many were made without an event, after this error broke the stream.
	attempts int
	broken   *Error
}

// errGap is the error of a resumed stream without the next event.
var errGap = errors.New("events are missing")

// isNew notes an event. It is false if the event was received on an earlier connection.
func (r *resumption) isNew(event *dashgatev1.ConverseStreamResponse) (bool, error) {
	sequence := event.GetSequence()
	// A heartbeat has the number of the event before it.
	counts := event.GetHeartbeat() == nil
	if r.resumes > 0 && counts && sequence > r.sequence+1 {
		return false, errGap
	}
	r.attempts = 0
	if started := event.GetStarted(); started != nil && !r.started {
		r.started = true
		r.can = r.wanted && started.GetResumable()
	}
	if !counts {
		return true, nil
	}
	if r.resumes > 0 && sequence <= r.sequence {
		return false, nil
	}
	r.sequence = sequence
	return true, nil
}

// announced notes the headers of a response, which precede Started.
func (r *resumption) announced(headers grpcmetadata.MD) {
	if r.wanted && !r.started && slices.Contains(headers.Get(resumableKey), "true") {
		r.can = true
	}
}

// after decides what follows a failure: another attempt (nil), or the error of the stream.
func (r *resumption) after(failed *Error) *Error {
	switch {
	case !r.can:
		return failed
	case !isLost(failed) && r.attempts == 0:
		return failed
	case !isLost(failed):
		return r.refused(failed)
	case r.attempts == resumeAttempts:
		return r.broken
	}
	if r.attempts == 0 {
		r.broken = failed
	}
	return nil
}

// refused is the error of a stream that could not be resumed.
func (r *resumption) refused(failed *Error) *Error {
	switch failed.Code {
	case codes.OutOfRange, codes.NotFound, codes.Unimplemented:
		// The gateway does not have the call any more: what broke the stream is the cause.
		return r.broken
	}
	if failed.Usage == nil {
		failed.Usage = r.broken.Usage
	}
	return failed
}

// mustLeave is whether the gateway waits for a stream that ended with this error to return.
func (r *resumption) mustLeave(ctx context.Context, failed *Error) bool {
	if !r.wanted || r.started && !r.can {
		return false
	}
	if failed.Code == codes.DeadlineExceeded || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		// A caller that chose the request id can fetch the answer with it.
		return !r.named
	}
	// A stream that is left may fail at the same time, with any error.
	return ctx.Err() != nil
}

// isLost is whether a connection was lost, or a replica of the gateway shuts down.
func isLost(failed *Error) bool {
	switch failed.RawReason {
	case "":
		// Of gRPC libraries and proxies.
		return failed.Code == codes.Unavailable || failed.Code == codes.Internal ||
			failed.Code == codes.Unknown
	case "SHUTTING_DOWN", "STORE_DOWN":
		return true
	default:
		return false
	}
}

// recover continues a stream that failed on another connection, or ends it.
func (s *Stream) recover(err error) {
	for {
		if s.events != nil {
			s.metadata = metadataOf(s.events)
			s.state.announced(s.metadata.header)
		}
		end := s.ending(err)
		failed, hasFailed := end.(*Error)
		if !hasFailed {
			s.finish(end)
			return
		}
		if s.state.can && s.fold.complete && isLost(failed) {
			s.finish(io.EOF)
			return
		}
		if delay, again := s.throttling.next(s.ctx, failed); again && !s.received {
			s.retries++
			s.record.again("retry", s.retries, delay, failed)
			if err = s.reopen(delay, failed); err == nil {
				return
			}
			continue
		}
		if last := s.state.after(failed); last != nil || s.ctx.Err() != nil {
			if last == nil {
				last = failed
			}
			s.finish(last)
			return
		}
		wait := resumeDelay(s.state.attempts, failed)
		s.state.attempts++
		s.state.resumes++
		s.record.again("resume", s.state.resumes, wait, failed)
		s.request.AfterSequence = s.state.sequence
		if err = s.reopen(wait, failed); err == nil {
			return
		}
	}
}

// reopen opens another connection's stream after a delay, which follows an error.
func (s *Stream) reopen(delay time.Duration, failed *Error) error {
	if err := sleep(s.ctx, delay); err != nil {
		s.events = nil
		return betweenAttempts(s.ctx, failed)
	}
	return s.open()
}

// open opens a connection's stream.
func (s *Stream) open() error {
	defer s.timer.Stop()
	begin := func() { s.timer.Reset(s.idle) }
	if s.client.owned == nil {
		begin()
	}
	// Nothing can be received while the call waits for others to end.
	noted := onProgress{begun: begin, opened: func() { s.sent = true }}
	events, err := s.client.Conversations().ConverseStream(s.ctx, s.request, noted)
	s.events, s.metadata = events, responseMetadata{}
	return err
}
