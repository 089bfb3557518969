package dashgate

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
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
	dial    func() (*grpc.ClientConn, error)
	address string
	// perLane and most are callsPerConnection and maxConnections.
	perLane, most int

	lock  sync.Mutex
	lanes []*lane
	// spare is for calls that end others while all lanes are full; it is opened when it is needed.
	spare *lane
	// waiting are the calls that wait for the end of another one, in their order: each a channel that
	// receives its connection, and is closed with the pool.
	waiting list.List
	closed  bool
}

func newPool(address string, dial func() (*grpc.ClientConn, error)) (*pool, error) {
	first, err := dial()
	if err != nil {
		return nil, err
	}
	return &pool{
		dial: dial, address: strings.TrimPrefix(address, "dns:///"),
		perLane: callsPerConnection, most: maxConnections, lanes: []*lane{{conn: first}},
	}, nil
}

// take returns the connection for a call, for which it may have to wait. The function must be called
// when the call has ended.
func (p *pool) take(
	ctx context.Context, method string,
) (*grpc.ClientConn, func(), error) {
	if over := alreadyOver(ctx, p); over != nil {
		return nil, nil, over
	}
	taken, turn := p.free(method == dashgatev1.CallService_CancelCall_FullMethodName)
	if turn != nil {
		var isOpen bool
		select {
		case taken, isOpen = <-turn.Value.(chan *lane):
			if !isOpen {
				return nil, nil, status.Error(codes.Canceled, "the client is closed")
			}
		case <-ctx.Done():
			p.leave(turn)
			return nil, nil, waitedError(ctx, p)
		}
	}
	return taken.conn, sync.OnceFunc(func() { p.release(taken) }), nil
}

// free returns the connection with the fewest calls, or a place among the calls that wait. A call that
// ends another one does not wait for it.
func (p *pool) free(endsCall bool) (*lane, *list.Element) {
	p.lock.Lock()
	defer p.lock.Unlock()
	best := slices.MinFunc(p.lanes, func(one, other *lane) int { return one.calls - other.calls })
	// A connection that is closed refuses the call.
	if best.calls >= p.perLane && !p.closed {
		if best = p.another(endsCall); best == nil {
			return nil, p.waiting.PushBack(make(chan *lane, 1))
		}
	}
	best.calls++
	return best, nil
}

// another returns a further connection while all are full, or nil if the call has to wait.
func (p *pool) another(endsCall bool) *lane {
	isFull := len(p.lanes) >= p.most
	switch {
	case isFull && !endsCall:
		return nil
	case isFull && p.spare != nil:
		return p.spare
	}
	conn, err := p.dial()
	if err != nil {
		// The first one had the same settings, so there is no error.
		return nil
	}
	opened := &lane{conn: conn}
	if isFull {
		p.spare = opened
	} else {
		p.lanes = append(p.lanes, opened)
	}
	return opened
}

// release gives the place of a call that has ended to the one that waits longest.
func (p *pool) release(ended *lane) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if next := p.waiting.Front(); next != nil && ended != p.spare {
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
	conn, ended, err := p.take(ctx, method)
	if err != nil {
		return err
	}
	defer ended()
	observing, made := observed(ctx, conn, p.address)
	return nameText(made.explain(ctx, conn.Invoke(observing, method, request, response, options...)), request)
}

// NewStream begins a streaming call.
func (p *pool) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	conn, ended, err := p.take(ctx, method)
	if err != nil {
		return nil, err
	}
	for _, option := range options {
		if noted, ok := option.(onProgress); ok {
			noted.begun()
		}
	}
	options = append(slices.Clone(options), grpc.OnFinish(func(error) { ended() }))
	observing, made := observed(ctx, conn, p.address)
	stream, err := conn.NewStream(observing, desc, method, options...)
	if err != nil {
		ended()
		return nil, made.explain(ctx, err)
	}
	noteOpened(options)
	return &observedStream{stream, ctx, made}, nil
}

// onProgress is an option of a streaming call: begun is called when the call has a place, opened when
// it is sent, so that the gateway may have it.
type onProgress struct {
	grpc.EmptyCallOption
	begun, opened func()
}

func noteOpened(options []grpc.CallOption) {
	for _, option := range options {
		if noted, ok := option.(onProgress); ok {
			noted.opened()
		}
	}
}

// GetState is Ready if there is any connection, and Idle if none is made.
func (p *pool) GetState() connectivity.State {
	p.lock.Lock()
	defer p.lock.Unlock()
	all := connectivity.Idle
	for _, lane := range p.lanes {
		switch state := lane.conn.GetState(); state {
		case connectivity.Ready:
			return state
		case connectivity.Idle:
		default:
			all = state
		}
	}
	return all
}

// explain returns the error of a call that has waited for others until its deadline.
func (p *pool) explain(ctx context.Context, err error) error {
	if !isLate(ctx, statusOf(err).Code()) {
		return err
	}
	return neverConnected(ctx, p, p.address, err)
}

// Target is the address.
func (p *pool) Target() string {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.lanes[0].conn.Target()
}

// Close closes the connections, and ends the calls that wait for one.
func (p *pool) Close() error {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	for turn := p.waiting.Front(); turn != nil; turn = p.waiting.Front() {
		close(p.waiting.Remove(turn).(chan *lane))
	}
	lanes := p.lanes
	if p.spare != nil {
		lanes = append(slices.Clone(lanes), p.spare)
	}
	var errs []error
	for _, lane := range lanes {
		errs = append(errs, lane.conn.Close())
	}
	return errors.Join(errs...)
}
