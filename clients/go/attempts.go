package dashgate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// attempts are those that gRPC makes of a call, as the stats handler of its connection reports them.
type attempts struct {
	conn    grpc.ClientConnInterface
	address string
	record  *callRecord

	lock sync.Mutex
	// count is how many were begun, lastEnd when the latest ended.
	count     int
	isRunning bool
	lastEnd   time.Time
	// isSent is whether the latest has left, unless it failed with UNAVAILABLE. isAnswered is whether
	// anything of its response came.
	isSent, isAnswered bool
	// failed is the error of the latest that failed with UNAVAILABLE.
	failed error
}

type attemptsKey struct{}

// observed returns a context for gRPC that has the attempts of a call.
func observed(
	ctx context.Context, conn grpc.ClientConnInterface, address string,
) (context.Context, *attempts) {
	record, _ := ctx.Value(callRecordKey{}).(*callRecord)
	made := &attempts{conn: conn, address: address, record: record}
	return context.WithValue(ctx, attemptsKey{}, made), made
}

// explain returns the error of the call. gRPC reports the end of a deadline also if the gateway could
// not be reached until then: the call is UNAVAILABLE, as its attempts were.
func (a *attempts) explain(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	a.lock.Lock()
	defer a.lock.Unlock()
	raw := statusOf(err)
	switch {
	case raw.Code() == codes.Unavailable && a.count > 0 && !a.isAnswered:
		return status.Error(codes.Unavailable, withAddress(a.address, raw.Message()))
	case a.isSent || !isLate(ctx, raw.Code()):
		return err
	case a.failed != nil:
		return a.unavailable(ctx, statusOf(a.failed))
	default:
		return neverConnected(ctx, a.conn, a.address, err)
	}
}

// unavailable is the error of a call whose attempts failed until its deadline.
func (a *attempts) unavailable(ctx context.Context, last *status.Status) error {
	if len(last.Details()) == 0 {
		last = status.New(last.Code(), withAddress(a.address, last.Message()))
	}
	return &lateError{status: last, end: ctx.Err()}
}

// withAddress returns a message of gRPC with the address that was given: it may have that of another
// machine, or none.
func withAddress(address, message string) string {
	if strings.Contains(message, address) {
		return message
	}
	return address + ": " + message
}

// hasState is what has the state of its connections.
type hasState interface{ GetState() connectivity.State }

// neverConnected returns the error of a call that was not sent until its deadline. If there is a
// connection, the call waited for others to end; so it did if nothing connects, because the connection
// of the others takes no more calls.
func neverConnected(ctx context.Context, conn any, address string, err error) error {
	connection, isKnown := conn.(hasState)
	if !isKnown {
		return err
	}
	if state := connection.GetState(); state == connectivity.Ready || state == connectivity.Idle {
		return err
	}
	message := address + ": no connection could be made in time"
	return &lateError{status: status.New(codes.Unavailable, message), end: ctx.Err()}
}

// partKey is that of the context of a call which is a part of another one, and which may have waited.
type partKey struct{}

// alreadyOver returns the error of a call whose context has ended before it is made, or nil. Without a
// connection it would seem that the gateway could not be reached.
func alreadyOver(ctx context.Context, conn grpc.ClientConnInterface) error {
	switch {
	case ctx.Err() == nil:
		return nil
	case ctx.Value(partKey{}) != nil:
		return waitedError(ctx, conn)
	default:
		return status.FromContextError(ctx.Err()).Err()
	}
}

// isLate is whether this side ended a call, because of its deadline or because nothing was received.
func isLate(ctx context.Context, code codes.Code) bool {
	return code == codes.DeadlineExceeded ||
		code == codes.Canceled && errors.Is(context.Cause(ctx), errIdle)
}

// statusOf returns the status of gRPC's error. gRPC wraps that of a retried call, and its message is
// then a chain.
func statusOf(err error) *status.Status {
	var inner interface {
		error
		GRPCStatus() *status.Status
	}
	if errors.As(err, &inner) {
		return inner.GRPCStatus()
	}
	return status.Convert(err)
}

// lateError is the error of a call whose deadline ended before the gateway was reached.
type lateError struct {
	status *status.Status
	end    error
}

func (e *lateError) Error() string              { return e.status.Err().Error() }
func (e *lateError) GRPCStatus() *status.Status { return e.status }

// Unwrap returns the error of the context, unless the stream was cancelled because it was idle.
func (e *lateError) Unwrap() error {
	if errors.Is(e.end, context.DeadlineExceeded) {
		return e.end
	}
	return nil
}

// betweenAttempts is the error of a call whose context ended before another attempt, after this one
// had failed.
func betweenAttempts(ctx context.Context, failed *Error) error {
	isDeadline := errors.Is(ctx.Err(), context.DeadlineExceeded)
	if isDeadline && failed.Code == codes.Unavailable && failed.RawReason == "" {
		return &lateError{status: failed.Status, end: ctx.Err()}
	}
	return status.FromContextError(ctx.Err()).Err()
}

// observedStream is a stream whose errors are explained.
type observedStream struct {
	grpc.ClientStream
	ctx      context.Context
	attempts *attempts
}

// SendMsg sends a message.
func (s *observedStream) SendMsg(message any) error {
	return nameText(s.attempts.explain(s.ctx, s.ClientStream.SendMsg(message)), message)
}

// RecvMsg receives a message.
func (s *observedStream) RecvMsg(message any) error {
	return s.attempts.explain(s.ctx, s.ClientStream.RecvMsg(message))
}

// givenConn is a connection that was passed, whose attempts are not observed.
type givenConn struct {
	grpc.ClientConnInterface
	address string
}

// Invoke makes a unary call.
func (c givenConn) Invoke(
	ctx context.Context, method string, request, response any, options ...grpc.CallOption,
) error {
	if over := alreadyOver(ctx, c); over != nil {
		return over
	}
	var reached peer.Peer
	options = append(slices.Clone(options), grpc.Peer(&reached))
	err := c.ClientConnInterface.Invoke(ctx, method, request, response, options...)
	if reached.Addr == nil {
		err = c.explain(ctx, err)
	}
	return nameText(err, request)
}

// NewStream begins a streaming call.
func (c givenConn) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	if over := alreadyOver(ctx, c); over != nil {
		return nil, over
	}
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, options...)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	noteOpened(options)
	return namedTextStream{stream}, nil
}

// explain returns the error of a call that was not sent.
func (c givenConn) explain(ctx context.Context, err error) error {
	if err == nil || !isLate(ctx, statusOf(err).Code()) {
		return err
	}
	return neverConnected(ctx, c.ClientConnInterface, c.address, err)
}

// waitedError returns the error of a call whose context ended while it waited for another call: that
// of the other one, if no connection to the gateway could be made.
func waitedError(ctx context.Context, conn grpc.ClientConnInterface) error {
	err := status.FromContextError(ctx.Err()).Err()
	explaining, isOurs := conn.(interface {
		explain(ctx context.Context, err error) error
	})
	if !isOurs {
		return err
	}
	return explaining.explain(ctx, err)
}

// connStats observes the connections of a client, and the attempts of its calls.
type connStats struct{ log *callLog }

// TagRPC returns the context, which has the attempts.
func (s connStats) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC notes what happens to an attempt.
func (s connStats) HandleRPC(ctx context.Context, event stats.RPCStats) {
	made, isObserved := ctx.Value(attemptsKey{}).(*attempts)
	if !isObserved {
		return
	}
	made.lock.Lock()
	defer made.lock.Unlock()
	switch event := event.(type) {
	case *stats.Begin:
		made.begun(event)
	case *stats.OutHeader:
		made.isSent = true
	case *stats.InHeader, *stats.InTrailer:
		made.isAnswered = true
	case *stats.End:
		made.ended(event)
	}
}

// TagConn returns the context.
func (s connStats) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn writes the connections that are opened.
func (s connStats) HandleConn(_ context.Context, event stats.ConnStats) {
	_, isOpened := event.(*stats.ConnBegin)
	if isOpened && s.log != nil && s.log.debug {
		s.log.write(slog.LevelDebug, "connected to %s", s.log.target)
	}
}

func (a *attempts) begun(event *stats.Begin) {
	if a.isRunning {
		// Without a connection, gRPC replaces an attempt before it is made.
		return
	}
	a.isRunning, a.isSent, a.isAnswered = true, false, false
	if a.count++; a.count > 1 {
		a.record.retried(a.count-1, event.BeginTime.Sub(a.lastEnd))
	}
}

func (a *attempts) ended(event *stats.End) {
	a.isRunning, a.lastEnd = false, event.EndTime
	if event.Error == nil {
		return
	}
	raw := statusOf(event.Error)
	if raw.Code() == codes.Unavailable {
		a.isSent, a.failed = false, event.Error
	}
	a.record.failed(a.count, raw, a.isAnswered)
}
