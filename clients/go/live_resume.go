package dashgate

import (
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// resumeAttempts is how often a session is resumed without an event in between. The delays add
	// up to 6 seconds; the gateway keeps a session for 30.
	resumeAttempts     = 6
	firstResumeDelay   = 100 * time.Millisecond
	longestResumeDelay = 5 * time.Second
)

// recover resumes the session after a stream failed, or ends it.
func (l *live[Request, Response, Event]) recover(failed *Error) {
	for {
		if !l.canResume(failed) {
			l.fail(failed)
			return
		}
		if l.attempts == resumeAttempts {
			// The error of the stream that broke has the cause and the usage; those of the attempts
			// have neither.
			l.fail(l.broken)
			return
		}
		if l.broken == nil {
			l.broken = failed
		}
		delay := resumeDelay(l.attempts, failed)
		l.attempts++
		l.record.again("resume", int(l.resumes.Add(1)), delay, failed)
		select {
		case <-l.ctx.Done():
			l.fail(newError(l.ctx, betweenAttempts(l.ctx, failed), responseMetadata{}, l.requestID))
			return
		case <-time.After(delay):
		}
		err := l.dial()
		if err == nil {
			return
		}
		failed = newError(l.ctx, err, responseMetadata{}, l.requestID)
	}
}

// drain reads what is left of a stream that takes no more messages: its status comes last. If the
// session goes on, unread events are received again, so that a program that only
// sends does not collect them.
func (l *live[Request, Response, Event]) drain(ended liveStream[Request, Response]) {
	if !l.claim(ended) {
		return
	}
	defer l.release()
	l.state.Lock()
	read, before := l.sequence, len(l.unread)
	l.state.Unlock()
	for {
		raw, err := ended.Recv()
		if err != nil {
			l.brokeUnread(ended, err, read, before)
			return
		}
		if event := Event(raw); l.isNew(event) {
			l.state.Lock()
			l.unread = append(l.unread, event)
			l.state.Unlock()
		}
	}
}

// brokeUnread resumes the session after the event that was read last, or ends it with those that
// were not read.
func (l *live[Request, Response, Event]) brokeUnread(
	stream liveStream[Request, Response], err error, read int32, before int,
) {
	l.state.Lock()
	kept, drained := slices.Clone(l.unread[:before]), slices.Clone(l.unread[before:])
	last := l.sequence
	l.unread = l.unread[:before]
	for _, event := range drained {
		if event.GetSessionStarted() == nil {
			continue
		}
		read = max(read, event.GetSequence())
		if len(l.unread) > 1 {
			// A stream of which nothing was read.
			l.unread = l.unread[:1]
		}
		l.unread = append(l.unread, event)
	}
	l.sequence = read
	l.state.Unlock()

	l.broke(stream, err)

	l.state.Lock()
	defer l.state.Unlock()
	if l.end != nil {
		l.sequence = last
		l.unread = append(kept, drained...)
	}
}

// canResume is whether the stream was broken, by a lost connection, by a proxy or by a gateway that
// shuts down, while the session goes on.
func (l *live[Request, Response, Event]) canResume(failed *Error) bool {
	isLost := failed.Code == codes.Unavailable
	if failed.Code == codes.Internal || failed.Code == codes.Unknown {
		// Of gRPC libraries and proxies. With a reason of the gateway it is final.
		isLost = failed.RawReason == ""
	}
	return isLost && l.ctx.Err() == nil && l.Resumption() != nil && l.Ended() == nil
}

// resumeDelay is the delay before an attempt to resume a session or a stream.
func resumeDelay(attempts int, failed *Error) time.Duration {
	delay := min(firstResumeDelay<<attempts, longestResumeDelay)
	// Many lose their connection at the same time.
	delay = time.Duration(float64(delay) * (0.75 + rand.Float64()/2))
	after, _ := failed.RetryAfter()
	return min(max(delay, after), longestResumeDelay)
}
