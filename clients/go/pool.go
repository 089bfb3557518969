package dashgate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
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
// gateway takes at once.
type pool struct {
	dial   func() (*grpc.ClientConn, error)
	lock   sync.Mutex
	lanes  []*lane
	closed bool
}

func newPool(dial func() (*grpc.ClientConn, error)) (*pool, error) {
	first, err := dial()
	if err != nil {
		return nil, err
	}
	return &pool{dial: dial, lanes: []*lane{{conn: first}}}, nil
}

// take returns the connection for a call. The function must be called when the call has ended.
func (p *pool) take() (*grpc.ClientConn, func()) {
	p.lock.Lock()
	defer p.lock.Unlock()
	best := slices.MinFunc(p.lanes, func(one, other *lane) int { return one.calls - other.calls })
	if best.calls >= callsPerConnection && len(p.lanes) < maxConnections && !p.closed {
		// The first one had the same settings, so there is no error.
		if conn, err := p.dial(); err == nil {
			best = &lane{conn: conn}
			p.lanes = append(p.lanes, best)
		}
	}
	best.calls++
	return best.conn, sync.OnceFunc(func() {
		p.lock.Lock()
		defer p.lock.Unlock()
		best.calls--
	})
}

// Invoke makes a unary call.
func (p *pool) Invoke(
	ctx context.Context, method string, request, response any, options ...grpc.CallOption,
) error {
	conn, ended := p.take()
	defer ended()
	return conn.Invoke(ctx, method, request, response, options...)
}

// NewStream begins a streaming call.
func (p *pool) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	conn, ended := p.take()
	options = append(slices.Clone(options), grpc.OnFinish(func(error) { ended() }))
	stream, err := conn.NewStream(ctx, desc, method, options...)
	if err != nil {
		ended()
	}
	return stream, err
}

// Target is the address.
func (p *pool) Target() string { return p.lanes[0].conn.Target() }

// Close closes the connections.
func (p *pool) Close() error {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.closed = true
	var errs []error
	for _, lane := range p.lanes {
		errs = append(errs, lane.conn.Close())
	}
	return errors.Join(errs...)
}
