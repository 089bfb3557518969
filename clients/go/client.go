package dashgate

import (
	"context"
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
	defaultTarget = "127.0.0.1:" + defaultPort

	// The gateway's own timeout for DashScope is shorter, so this limit is for a gateway that hangs.
	unaryTimeout = 10 * time.Minute

	// Four heartbeats of the gateway: one may be late.
	idleTimeout = time.Minute

	// The largest response of the gateway. Requests are kept for retries up to the same size: gRPC's
	// default of 256 KiB would exclude requests with audio.
	messageLimit = 64 << 20

	// The strictest servers allow one ping in 5 minutes.
	keepaliveTime    = 6 * time.Minute
	keepaliveTimeout = 20 * time.Second
)

// serviceConfig is the retry policy of the gRPC library.
//
//go:embed service-config.json
var serviceConfig string

// Client is a client of a dashgate gateway. It is safe for concurrent use.
type Client struct {
	settings settings
	conn     grpc.ClientConnInterface
	owned    *pool
	uploads  *uploadMemory
	log      *callLog
	leavings *leavings
}

// New returns a client. target is host:port, http://host:port, https://host:port, dns:///host:port
// or unix:/path; if it is empty, DASHGATE_ADDR of the environment, then 127.0.0.1:50051. The default
// port is 50051, with https:// 443. It connects with the first call. The error reports an invalid
// target or option.
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
		return nil, errors.New("TLS is enabled and the target begins with http://: use https://")
	case settings.tls != nil:
		secrecy = credentials.NewTLS(settings.tls)
	case endpoint.scheme == "https":
		secrecy = credentials.NewTLS(new(tls.Config))
	}
	config := serviceConfig
	if endpoint.scheme == "dns" {
		config = spread(config)
	}
	// Go's rule for proxies of the environment already excludes loopback addresses.
	dialed := []grpc.DialOption{
		grpc.WithTransportCredentials(secrecy),
		grpc.WithUserAgent("dashgate-go/" + Version),
		grpc.WithDefaultServiceConfig(config),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(messageLimit),
			grpc.MaxRetryRPCBufferSize(messageLimit),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(reconnect),
	}
	log := newCallLog(endpoint.address)
	dialed = append(dialed, grpc.WithStatsHandler(connStats{log}))
	dialed = append(dialed, settings.dialOptions...)
	conn, err := newPool(endpoint.address, func() (*grpc.ClientConn, error) {
		return grpc.NewClient(endpoint.address, dialed...)
	})
	if err != nil {
		return nil, err
	}
	client := newClient(settings, conn, log)
	client.owned = conn
	return client, nil
}

// FromConn returns a client that uses an existing connection, which its owner closes. TLS, message
// limits, retries and keepalive are those of the connection.
func FromConn(conn grpc.ClientConnInterface, options ...ClientOption) (*Client, error) {
	if isNil(conn) {
		return nil, nilArgument("conn", "")
	}
	settings, err := newSettings(options)
	if err != nil {
		return nil, err
	}
	if settings.tls != nil || settings.dialOptions != nil {
		return nil, errors.New("TLS and dial options are those of the connection that was passed")
	}
	target := "a given connection"
	if named, ok := conn.(interface{ Target() string }); ok {
		target = named.Target()
	}
	conn = givenConn{conn, target}
	return newClient(settings, conn, newCallLog(target)), nil
}

func newClient(settings settings, conn grpc.ClientConnInterface, log *callLog) *Client {
	return &Client{
		settings: settings, conn: conn, uploads: newUploadMemory(), log: log, leavings: new(leavings),
	}
}

// Close cancels all calls, also those that wait, and closes the connections, unless the client was
// created by FromConn. Before, it waits, for at most 2 seconds, until the gateway has ended the calls
// that were left. Streams that other goroutines leave at the same time are among them. A client that
// is closed may be closed again.
func (c *Client) Close() error {
	c.leavings.wait(leaveLimit)
	if c.owned == nil {
		return nil
	}
	return c.owned.Close()
}

// Conversations returns the generated stub of ConversationService. Call it with a context returned
// by Outgoing.
func (c *Client) Conversations() dashgatev1.ConversationServiceClient {
	return dashgatev1.NewConversationServiceClient(c.conn)
}

// Media returns the generated stub of MediaService. Call it with a context returned by Outgoing.
func (c *Client) Media() dashgatev1.MediaServiceClient {
	return dashgatev1.NewMediaServiceClient(c.conn)
}

// Sessions returns the generated stub of LiveService. Call it with a context returned by Outgoing.
func (c *Client) Sessions() dashgatev1.LiveServiceClient {
	return dashgatev1.NewLiveServiceClient(c.conn)
}

// Calls returns the generated stub of CallService. Call it with a context returned by Outgoing.
func (c *Client) Calls() dashgatev1.CallServiceClient {
	return dashgatev1.NewCallServiceClient(c.conn)
}

// Models returns the generated stub of ModelService. Call it with a context returned by Outgoing.
func (c *Client) Models() dashgatev1.ModelServiceClient {
	return dashgatev1.NewModelServiceClient(c.conn)
}

// Outgoing returns a context with the metadata that the client sends with every call, including the
// API key, and with more, which takes precedence.
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

// String returns a description of the client without the API key.
func (c *Client) String() string {
	if c.owned == nil {
		return "dashgate.Client"
	}
	return fmt.Sprintf("dashgate.Client(%s)", c.owned.Target())
}

// GoString returns a description of the client without the API key.
func (c *Client) GoString() string { return c.String() }

func newSettings(options []ClientOption) (settings, error) {
	key := os.Getenv("DASHGATE_API_KEY")
	s := settings{apiKey: secret{&key}, idleTimeout: idleTimeout}
	if place := firstNil(options); place != "" {
		return settings{}, nilArgument(place, "")
	}
	for _, option := range options {
		option.applyToClient(&s)
	}
	if place := firstNil(s.dialOptions); place != "" {
		return settings{}, nilArgument("WithDialOptions: "+place, "")
	}
	for _, char := range strings.TrimSpace(s.apiKey.reveal()) {
		// gRPC would reject the call later, and would print the value.
		if char < ' ' || char > '~' {
			return settings{}, errors.New("the API key has characters that cannot be sent")
		}
	}
	if s.timeout < 0 {
		return settings{}, fmt.Errorf("the timeout is %v; it must be more than 0", s.timeout)
	}
	if s.maxRetries < 0 {
		return settings{}, fmt.Errorf("the maximum of retries is %d; it must be 0 or more", s.maxRetries)
	}
	if s.idleTimeout <= 0 {
		return settings{}, fmt.Errorf("the idle timeout is %v; it must be more than 0", s.idleTimeout)
	}
	return s, nil
}
