package recipes

import (
	"context"
	"errors"
	"time"

	"github.com/dashgate/dashgate/clients/go"
)

// region throttling

// NewPatientClient returns a client that waits as long as the gateway says when it is throttled, up
// to five times for a call, and never beyond its deadline.
func NewPatientClient(target string) (*dashgate.Client, error) {
	return dashgate.New(target, dashgate.WithMaxRetries(5), dashgate.WithTimeout(5*time.Minute))
}

// AskOrPostpone returns the answer, or when to ask again: a queue can keep the question until then.
// The error is final.
func AskOrPostpone(
	ctx context.Context, client *dashgate.Client, question string,
) (answer string, again time.Duration, err error) {
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text(question))
	whole, err := client.Converse(ctx, conversation)
	var failed *dashgate.Error
	switch {
	case err == nil:
		return whole.Text(), 0, nil
	case errors.As(err, &failed) && failed.Retryable:
		after, isKnown := failed.RetryAfter()
		if !isKnown {
			after = 10 * time.Second // The gateway was not reached.
		}
		return "", after, nil
	default:
		return "", 0, err
	}
}

// endregion
