package dashgate

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	grpcmetadata "google.golang.org/grpc/metadata"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

const (
	defaultTarget = "127.0.0.1:50051"

	// The gateway gives up on DashScope earlier, so the limit is for a gateway that hangs.
	unaryTimeout = 10 * time.Minute

	// Four of the gateway's heartbeats: one may be late, four are not.
	idleTimeout = time.Minute

	// The largest answer that the gateway makes. A request must be kept as long for a retry: gRPC
	// keeps 256 KiB unless told otherwise, and would then not repeat a call with sound in it.
	messageLimit = 64 << 20

	// The strictest servers allow a ping every 5 minutes.
	keepaliveTime    = 6 * time.Minute
	keepaliveTimeout = 20 * time.Second
)

// serviceConfig is which calls gRPC repeats, and when.
//
//go:embed service-config.json
var serviceConfig string

// Client talks with a dashgate. It may be used by many goroutines.
type Client struct {
	settings settings
	conn     grpc.ClientConnInterface
	owned    *grpc.ClientConn
}

// New makes a client. target is host:port, http://host:port, https://host:port or unix:/path; empty,
// it is DASHGATE_ADDR of the environment, else 127.0.0.1:50051. Nothing is connected before the
// first call.
func New(target string, options ...ClientOption) (*Client, error) {
	settings, err := newSettings(options)
	if err != nil {
		return nil, err
	}
	if target == "" {
		target = os.Getenv("DASHGATE_ADDR")
	}
	if target == "" {
		target = defaultTarget
	}
	endpoint, err := parseTarget(target)
	if err != nil {
		return nil, err
	}
	secrecy := insecure.NewCredentials()
	switch {
	case settings.tls != nil && endpoint.scheme == "http":
		return nil, errors.New("TLS was asked for, and the target begins with http://: write https://")
	case settings.tls != nil:
		secrecy = credentials.NewTLS(settings.tls)
	case endpoint.scheme == "https":
		secrecy = credentials.NewTLS(new(tls.Config))
	}
	config := serviceConfig
	if endpoint.scheme == "dns" {
		config = spread(config)
	}
	// Go's rule for the proxies of the environment leaves out loopback by itself.
	conn, err := grpc.NewClient(endpoint.address,
		grpc.WithTransportCredentials(secrecy),
		grpc.WithUserAgent("dashgate-go/"+Version),
		grpc.WithDefaultServiceConfig(config),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(messageLimit),
			grpc.MaxRetryRPCBufferSize(messageLimit),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
	)
	if err != nil {
		return nil, err
	}
	return &Client{settings: settings, conn: conn, owned: conn}, nil
}

// FromConn makes a client of a connection that exists; its owner closes it. Limits of messages,
// retries and keepalive are then the connection's own, and so is TLS.
func FromConn(conn grpc.ClientConnInterface, options ...ClientOption) (*Client, error) {
	settings, err := newSettings(options)
	if err != nil {
		return nil, err
	}
	if settings.tls != nil {
		return nil, errors.New("TLS was asked for of a connection that exists already")
	}
	return &Client{settings: settings, conn: conn}, nil
}

// Close ends all calls and the connection, unless the connection was given.
func (c *Client) Close() error {
	if c.owned == nil {
		return nil
	}
	return c.owned.Close()
}

// Converse returns the next answer as a whole.
func (c *Client) Converse(
	ctx context.Context, conversation *Conversation, options ...CallOption,
) (*Answer, error) {
	call := c.newCall(options)
	request := &dashgatev1.ConverseRequest{
		Conversation: conversation.Raw, Options: call.options, RequestId: call.requestID,
	}
	ctx, cancel := withTimeout(ctx, call.timeout, c.settings.timeout, unaryTimeout)
	defer cancel()
	var trailers grpcmetadata.MD
	response, err := c.Conversations().Converse(c.Outgoing(ctx, call.metadata), request, grpc.Trailer(&trailers))
	if err != nil {
		return nil, newError(ctx, err, trailers, call.requestID)
	}
	return &Answer{Raw: response}, nil
}

// Conversations is the generated stub, for what this package does not do. Give it a context of
// Outgoing.
func (c *Client) Conversations() dashgatev1.ConversationServiceClient {
	return dashgatev1.NewConversationServiceClient(c.conn)
}

// Media is the generated stub, for what this package does not do. Give it a context of Outgoing.
func (c *Client) Media() dashgatev1.MediaServiceClient {
	return dashgatev1.NewMediaServiceClient(c.conn)
}

// Outgoing adds what the client sends with every call, the key and its metadata, to a context, and
// more, which wins.
func (c *Client) Outgoing(ctx context.Context, more map[string]string) context.Context {
	values := make(map[string]string)
	if key := strings.TrimSpace(c.settings.apiKey.reveal()); key != "" {
		values["authorization"] = "Bearer " + key
	}
	for _, some := range []map[string]string{c.settings.metadata, more} {
		for name, value := range some {
			values[strings.ToLower(name)] = value
		}
	}
	joined, _ := grpcmetadata.FromOutgoingContext(ctx)
	joined = joined.Copy()
	maps.Copy(joined, grpcmetadata.New(values))
	return grpcmetadata.NewOutgoingContext(ctx, joined)
}

// String says what this is, without the key.
func (c *Client) String() string {
	if c.owned == nil {
		return "dashgate.Client"
	}
	return fmt.Sprintf("dashgate.Client(%s)", c.owned.Target())
}

// GoString says what this is, without the key.
func (c *Client) GoString() string { return c.String() }

func newSettings(options []ClientOption) (settings, error) {
	key := os.Getenv("DASHGATE_API_KEY")
	s := settings{apiKey: secret{&key}, idleTimeout: idleTimeout}
	for _, option := range options {
		option.applyToClient(&s)
	}
	for _, char := range strings.TrimSpace(s.apiKey.reveal()) {
		// gRPC would refuse the call later, and would print the value.
		if char < ' ' || char > '~' {
			return settings{}, errors.New("the API key has characters that cannot be sent")
		}
	}
	if s.timeout < 0 {
		return settings{}, fmt.Errorf("the timeout is %v; it must be more than 0", s.timeout)
	}
	if s.idleTimeout <= 0 {
		return settings{}, fmt.Errorf("the idle timeout is %v; it must be more than 0", s.idleTimeout)
	}
	return s, nil
}

func (c *Client) newCall(options []CallOption) call {
	var call call
	for _, option := range options {
		option.applyToCall(&call)
	}
	if call.requestID == "" {
		call.requestID = newRequestID()
	}
	return call
}

// withTimeout sets a deadline: the call's own, else the context's, else the client's, else the
// default; 0 is none.
func withTimeout(
	ctx context.Context, own, client, fallback time.Duration,
) (context.Context, context.CancelFunc) {
	limit := own
	if _, there := ctx.Deadline(); limit == 0 && !there {
		if limit = client; limit == 0 {
			limit = fallback
		}
	}
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// newRequestID makes a random UUID.
func newRequestID() string {
	var id [16]byte
	// It never fails: the program ends instead.
	_, _ = rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
