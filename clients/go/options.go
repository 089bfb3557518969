package dashgate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// A ClientOption sets an option of a client.
type ClientOption interface{ applyToClient(*settings) }

// A CallOption sets an option of a call.
type CallOption interface{ applyToCall(*call) }

// An Option is an option of a client, for all of its calls, or of one call.
type Option interface {
	ClientOption
	CallOption
}

// A MediaOption sets an option of audio, an image, a video or an upload.
type MediaOption interface {
	CallOption
	mimeType() string
}

// settings are the options of a client.
type settings struct {
	apiKey      secret
	tls         *tls.Config
	timeout     time.Duration
	idleTimeout time.Duration
	metadata    map[string]string
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

// call has the options of a call.
type call struct {
	options   *dashgatev1.GenerationOptions
	requestID string
	isNamed   bool
	noResume  bool
	timeout   time.Duration
	metadata  map[string]string
	mimeType  string
	name      string
	maxRounds int
	pageSize  int32
}

type (
	clientOption func(*settings)
	callOption   func(*call)
	timeout      time.Duration
	metadata     map[string]string
	mimeType     string
)

func (o clientOption) applyToClient(s *settings) { o(s) }
func (o callOption) applyToCall(c *call)         { o(c) }
func (o timeout) applyToClient(s *settings)      { s.timeout = time.Duration(o) }
func (o timeout) applyToCall(c *call)            { c.timeout = time.Duration(o) }
func (o metadata) applyToClient(s *settings)     { s.metadata = o }
func (o metadata) applyToCall(c *call)           { c.metadata = o }
func (o mimeType) applyToCall(c *call)           { c.mimeType = string(o) }
func (o mimeType) mimeType() string              { return string(o) }

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

// WithTimeout sets the deadline of a call. Default: that of the context, else 10 minutes for unary
// calls and uploads, and none for streams.
func WithTimeout(limit time.Duration) Option { return timeout(limit) }

// WithMetadata adds metadata. Entries of a call take precedence over those of the client.
func WithMetadata(values map[string]string) Option { return metadata(values) }

// WithOptions sets the generation options.
func WithOptions(options *dashgatev1.GenerationOptions) CallOption {
	return callOption(func(c *call) { c.options = options })
}

// WithRequestID sets the request id (idempotency key): a second call with the same id and content
// returns the same answer and is not billed. Default: a UUID, the same for all attempts.
func WithRequestID(name string) CallOption {
	return callOption(func(c *call) { c.requestID = name })
}

// WithResume sets whether a stream whose connection is lost continues on another one, after the last
// event that was received. Default: true. Leaving such a stream also calls CancelCall, which ends the
// call for all streams with its request id; if several have the same, set it to false.
func WithResume(enabled bool) CallOption {
	return callOption(func(c *call) { c.noResume = !enabled })
}

// WithMaxRounds sets how many rounds of tool calls RunTools runs. Default: 8.
func WithMaxRounds(rounds int) CallOption {
	return callOption(func(c *call) { c.maxRounds = rounds })
}

// WithPageSize sets how many models ListModels fetches at once. Default: the gateway's page size.
func WithPageSize(models int32) CallOption {
	return callOption(func(c *call) { c.pageSize = models })
}

// WithName sets the name of an uploaded file; its extension helps to detect the MIME type.
func WithName(name string) CallOption {
	return callOption(func(c *call) { c.name = name })
}

// WithMIMEType sets the MIME type. Default: detected from the first bytes, then from the extension,
// else by the gateway.
func WithMIMEType(name string) MediaOption { return mimeType(name) }

// TLSFromFiles returns a TLS config from PEM files: CA certificates, client certificate and key.
// Each path may be empty. serverName is the name to verify in the server's certificate, if it
// differs from the target's host. The error is that of reading or parsing a file.
func TLSFromFiles(ca, certificate, key, serverName string) (*tls.Config, error) {
	config := &tls.Config{ServerName: serverName}
	if ca != "" {
		roots, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", ca)
		}
	}
	if (certificate == "") != (key == "") {
		return nil, errors.New("certificate and key belong together; one of them is missing")
	}
	if certificate != "" {
		own, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
