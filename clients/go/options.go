package dashgate

import (
	"crypto/tls"
	"maps"
	"time"

	"google.golang.org/grpc"
)

// A ClientOption sets an option of a client.
type ClientOption interface{ applyToClient(*settings) }

// An Option is an option of a client, for all of its calls, or of one call.
type Option interface {
	ClientOption
	CallOption
}

// settings are the options of a client.
type settings struct {
	apiKey      secret
	tls         *tls.Config
	timeout     time.Duration
	idleTimeout time.Duration
	maxRetries  int
	metadata    map[string]string
	dialOptions []grpc.DialOption
}

// secret is a text behind a pointer, because fmt prints the fields of a struct without calling its
// methods, but does not follow pointers.
type secret struct{ text *string }

func (s secret) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

type (
	clientOption func(*settings)
	timeout      time.Duration
	maxRetries   int
	metadata     map[string]string
)

func (o clientOption) applyToClient(s *settings) { o(s) }
func (o timeout) applyToClient(s *settings)      { s.timeout = time.Duration(o) }
func (o timeout) applyToCall(c *call)            { c.timeout = time.Duration(o) }
func (o maxRetries) applyToClient(s *settings)   { s.maxRetries = int(o) }
func (o maxRetries) applyToCall(c *call)         { count := int(o); c.maxRetries = &count }
func (o metadata) applyToClient(s *settings)     { s.metadata = o }
func (o metadata) applyToCall(c *call)           { c.metadata = o }

// WithAPIKey sets the API key. Default: DASHGATE_API_KEY of the environment. It is also sent
// without TLS, which is safe only with a local sidecar.
func WithAPIKey(key string) ClientOption {
	return clientOption(func(s *settings) { s.apiKey = secret{&key} })
}

// WithTLS enables TLS for every target. An empty config trusts the system's root certificates; see
// TLSFromFiles for others.
func WithTLS(config *tls.Config) ClientOption {
	if config == nil {
		config = new(tls.Config)
	}
	return clientOption(func(s *settings) { s.tls = config.Clone() })
}

// WithIdleTimeout sets how long a stream may receive nothing, not even a heartbeat, before it
// fails. Default: 60 s, four heartbeats.
func WithIdleTimeout(limit time.Duration) ClientOption {
	return clientOption(func(s *settings) { s.idleTimeout = limit })
}

// WithDialOptions adds options of gRPC, such as interceptors and stats handlers, for all connections
// of the client. They are applied after the client's own: each replaces one of them and keeps the
// others. Interceptors see the metadata of the client.
func WithDialOptions(options ...grpc.DialOption) ClientOption {
	return clientOption(func(s *settings) { s.dialOptions = append(s.dialOptions, options...) })
}

// WithTimeout sets the deadline of a call. Default, also for 0: that of the context, else 10 minutes for
// unary calls and uploads, and none for streams.
func WithTimeout(limit time.Duration) Option { return timeout(limit) }

// WithMaxRetries sets how often Converse and Stream repeat a call that was throttled: it failed with
// RESOURCE_EXHAUSTED and a time to wait, before any event. A retry has the same request id, and
// waits for that time and up to 10 % more; if the deadline is earlier, the error is returned at once.
// Default: 0. Retries of UNAVAILABLE do not depend on it.
func WithMaxRetries(count int) Option { return maxRetries(count) }

// WithMetadata adds metadata. Entries of a call take precedence over those of the client.
func WithMetadata(values map[string]string) Option { return metadata(maps.Clone(values)) }
