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

// A ClientOption says how a client behaves.
type ClientOption interface{ applyToClient(*settings) }

// A CallOption says how one call behaves.
type CallOption interface{ applyToCall(*call) }

// An Option says it for all calls when a client gets it, and for one call when that gets it.
type Option interface {
	ClientOption
	CallOption
}

// A MediaOption says what a medium is.
type MediaOption interface {
	CallOption
	mimeType() string
}

// settings are what a client was told.
type settings struct {
	apiKey      secret
	tls         *tls.Config
	timeout     time.Duration
	idleTimeout time.Duration
	metadata    map[string]string
}

// secret is a text behind a pointer, because fmt prints what no method of ours can hide: the fields
// of a struct, but not what they point to.
type secret struct{ text *string }

func (s secret) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// call is what a call was told.
type call struct {
	options   *dashgatev1.GenerationOptions
	requestID string
	timeout   time.Duration
	metadata  map[string]string
	mimeType  string
	name      string
	maxRounds int
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

// WithAPIKey sets the caller's own key for the gateway. Left out, it is DASHGATE_API_KEY of the
// environment. It is sent over plaintext too: next to a sidecar that is right.
func WithAPIKey(key string) ClientOption {
	return clientOption(func(s *settings) { s.apiKey = secret{&key} })
}

// WithTLS makes the client use TLS, whatever the target says. An empty config trusts the system's
// roots; TLSFromFiles makes others.
func WithTLS(config *tls.Config) ClientOption {
	if config == nil {
		config = new(tls.Config)
	}
	return clientOption(func(s *settings) { s.tls = config.Clone() })
}

// WithIdleTimeout sets how long a stream may be silent, heartbeats included. Default: 60 s, which
// is four heartbeats.
func WithIdleTimeout(limit time.Duration) ClientOption {
	return clientOption(func(s *settings) { s.idleTimeout = limit })
}

// WithTimeout sets the deadline of a call. Without it, and without a deadline in the context, a
// stream has none and all else has 10 minutes.
func WithTimeout(limit time.Duration) Option { return timeout(limit) }

// WithMetadata sends names and values with a call. A call's own win over the client's.
func WithMetadata(values map[string]string) Option { return metadata(values) }

// WithOptions says how to answer.
func WithOptions(options *dashgatev1.GenerationOptions) CallOption {
	return callOption(func(c *call) { c.options = options })
}

// WithRequestID names the call. A call with the same name is done once, however often it is sent.
// Default: a name is made up.
func WithRequestID(name string) CallOption {
	return callOption(func(c *call) { c.requestID = name })
}

// WithMaxRounds sets how often RunTools calls what the model asks for. Default: 8.
func WithMaxRounds(rounds int) CallOption {
	return callOption(func(c *call) { c.maxRounds = rounds })
}

// WithName sets the name of a file that is uploaded: its extension helps to tell what it is.
func WithName(name string) CallOption {
	return callOption(func(c *call) { c.name = name })
}

// WithMIMEType says what a medium is. Default: told by its first bytes, then by its extension, else
// left to the gateway.
func WithMIMEType(name string) MediaOption { return mimeType(name) }

// TLSFromFiles makes a TLS config of PEM files: whom to trust, and the client's own certificate and
// key for a gateway that asks for them. Each may be empty. serverName is the name that the server's
// certificate must hold, if that is not the target's.
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
