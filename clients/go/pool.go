package dashgate

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// callsPerConnection is how many calls a gateway takes at once on a connection.
	callsPerConnection = 100
	// maxConnections is how many connections a client opens.
	maxConnections = 20

	// After an outage, all clients connect within a few seconds.
	firstReconnectDelay   = 500 * time.Millisecond
	longestReconnectDelay = 5 * time.Second
	connectTimeout        = 10 * time.Second
)

// reconnect is when a lost connection is opened again.
var reconnect = grpc.ConnectParams{
	Backoff: backoff.Config{
		BaseDelay: firstReconnectDelay, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestReconnectDelay,
	},
	MinConnectTimeout: connectTimeout,
}

// lane is a connection of a pool.
type lane struct {
	conn *grpc.ClientConn
	// calls is how many are in progress.
	calls int
}

// pool is the connections of a client. Another one is opened when all have as many calls as a
// gateway takes at once. Calls beyond all of them wait.
type pool struct {
	dial func() (*grpc.ClientConn, error)
	// perLane and most are callsPerConnection and maxConnections.
	perLane, most int

	lock  sync.Mutex
	lanes []*lane
	// waiting are the calls that wait for the end of another one, in their order: each a channel that
	// receives its connection, and is closed with the pool.
	waiting list.List
	closed  bool
}

func newPool(dial func() (*grpc.ClientConn, error)) (*pool, error) {
	first, err := dial()
	if err != nil {
		return nil, err
	}
	return &pool{
		dial: dial, perLane: callsPerConnection, most: maxConnections, lanes: []*lane{{conn: first}},
	}, nil
}

// take returns the connection for a call, for which it may have to wait. The function must be called
// when the call has ended.
func (p *pool) take(
	ctx context.Context, options []grpc.CallOption,
) (*grpc.ClientConn, func(), error) {
	taken, turn := p.free(slices.Contains(options, grpc.CallOption(unqueued{})))
	if turn != nil {
		var isOpen bool
		select {
		case taken, isOpen = <-turn.Value.(chan *lane):
			if !isOpen {
				return nil, nil, status.Error(codes.Canceled, "the client is closed")
			}
		case <-ctx.Done():
			p.leave(turn)
			return nil, nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	return taken.conn, sync.OnceFunc(func() { p.release(taken) }), nil
}

// free returns the connection with the fewest calls, or a place among the calls that wait, unless it
// must not wait.
func (p *pool) free(atOnce bool) (*lane, *list.Element) {
	p.lock.Lock()
	defer p.lock.Unlock()
	best := slices.MinFunc(p.lanes, func(one, other *lane) int { return one.calls - other.calls })
	if best.calls >= p.perLane && len(p.lanes) < p.most && !p.closed {
		// The first one had the same settings, so there is no error.
		if conn, err := p.dial(); err == nil {
			best = &lane{conn: conn}
			p.lanes = append(p.lanes, best)
		}
	}
	// A connection that is closed refuses the call.
	if best.calls >= p.perLane && !p.closed && !atOnce {
		return nil, p.waiting.PushBack(make(chan *lane, 1))
	}
	best.calls++
	return best, nil
}

// release gives the place of a call that has ended to the one that waits longest.
func (p *pool) release(ended *lane) {
	p.lock.Lock()
	defer p.lock.Unlock()
	// One that did not wait for its place has none to give.
	if next := p.waiting.Front(); next != nil && ended.calls <= p.perLane {
		p.waiting.Remove(next).(chan *lane) <- ended
		return
	}
	ended.calls--
}

// leave gives up the place of a call that does not wait any more.
func (p *pool) leave(turn *list.Element) {
	p.lock.Lock()
	// Does nothing if the call has just got a connection, which another one then gets.
	p.waiting.Remove(turn)
	p.lock.Unlock()
	select {
	case taken, isOpen := <-turn.Value.(chan *lane):
		if isOpen {
			p.release(taken)
		}
	default:
	}
}

// Invoke makes a unary call.
func (p *pool) Invoke(
	ctx context.Context, method string, request, response any, options ...grpc.CallOption,
) error {
	conn, ended, err := p.take(ctx, options)
	if err != nil {
		return err
	}
	defer ended()
	return conn.Invoke(ctx, method, request, response, options...)
}

// NewStream begins a streaming call.
func (p *pool) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	conn, ended, err := p.take(ctx, options)
	if err != nil {
		return nil, err
	}
	for _, option := range options {
		if begun, ok := option.(onBegin); ok {
			begun.run()
		}
	}
	options = append(slices.Clone(options), grpc.OnFinish(func(error) { ended() }))
	stream, err := conn.NewStream(ctx, desc, method, options...)
	if err != nil {
		ended()
	}
	return stream, err
}

// unqueued is an option of a call that does not wait for others: gRPC sends it.
type unqueued struct{ grpc.EmptyCallOption }

// onBegin is an option of a streaming call: run is called when the call has a connection.
type onBegin struct {
	grpc.EmptyCallOption
	run func()
}

// Target is the address.
func (p *pool) Target() string { return p.lanes[0].conn.Target() }

// Close closes the connections, and ends the calls that wait for one.
func (p *pool) Close() error {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.closed = true
	for turn := p.waiting.Front(); turn != nil; turn = p.waiting.Front() {
		close(p.waiting.Remove(turn).(chan *lane))
	}
	var errs []error
	for _, lane := range p.lanes {
		errs = append(errs, lane.conn.Close())
	}
	return errors.Join(errs...)
}
