package dashgate

import (
	"time"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// A CallOption sets an option of a call.
type CallOption interface{ applyToCall(*call) }

// A MediaOption sets an option of audio, an image, a video or an upload.
type MediaOption interface {
	CallOption
	mimeType() string
}

// call has the options of a call.
type call struct {
	options    *dashgatev1.GenerationOptions
	requestID  string
	isNamed    bool
	noResume   bool
	timeout    time.Duration
	maxRetries *int
	metadata   map[string]string
	mimeType   string
	name       string
	maxRounds  int
	parallel   bool
	repair     bool
	pageSize   int32
	// nilOption is the place of the first option that is nil.
	nilOption string

	expectedTurn *int32
	history      *dashgatev1.HistoryPolicy
	stored       storedSettings
	lastTurn     *int32
	newestFirst  bool
	includeMedia bool
}

type (
	callOption func(*call)
	mimeType   string
)

func (o callOption) applyToCall(c *call) { o(c) }
func (o mimeType) applyToCall(c *call)   { c.mimeType = string(o) }
func (o mimeType) mimeType() string      { return string(o) }

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

// WithExpectedTurn sets the number of the latest turn of a stored conversation that the caller knows.
// If another turn was made since, the call fails with ABORTED and the reason STALE_CONVERSATION.
// Default: the conversation's, which Append sets.
func WithExpectedTurn(turn int32) CallOption {
	return callOption(func(c *call) { c.expectedTurn = &turn })
}

// WithHistory sets which part of the history of a stored conversation is sent to the model. Default:
// the latest 100 turns, with their media.
func WithHistory(policy *dashgatev1.HistoryPolicy) CallOption {
	return callOption(func(c *call) { c.history = policy })
}

// WithMaxRounds sets how many rounds of tool calls RunTools and StreamTools run. Default: 8.
func WithMaxRounds(rounds int) CallOption {
	return callOption(func(c *call) { c.maxRounds = rounds })
}

// WithParallel sets whether RunTools and StreamTools run the functions of a round at the same time, at
// most 16 of them.
// Default: false, one after the other.
func WithParallel(enabled bool) CallOption {
	return callOption(func(c *call) { c.parallel = enabled })
}

// WithRepair sets whether ConverseAs shows the model an answer's error once, so that it can answer
// again. Default: false.
func WithRepair(enabled bool) CallOption {
	return callOption(func(c *call) { c.repair = enabled })
}

// WithPageSize sets how many items of a list are fetched at once. Default: the gateway's page size.
func WithPageSize(items int32) CallOption {
	return callOption(func(c *call) { c.pageSize = items })
}

// WithName sets the name of an uploaded file; its extension helps to detect the MIME type.
func WithName(name string) CallOption {
	return callOption(func(c *call) { c.name = name })
}

// WithMIMEType sets the MIME type. Default: detected from the first bytes, then from the extension,
// else by the gateway.
func WithMIMEType(name string) MediaOption { return mimeType(name) }
