package dashgate

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
)

// retryJitter is the part of a delay that is added at random: many are throttled at the same time.
const retryJitter = 0.1

// throttling has the retries that are left to a call that was throttled. Those of UNAVAILABLE are
// gRPC's.
type throttling struct{ left int }

func (c *Client) newThrottling(call *call) throttling {
	if call.maxRetries != nil {
		return throttling{*call.maxRetries}
	}
	return throttling{c.settings.maxRetries}
}

// next returns the delay before the next attempt. It is false if there is none: the error is no
// throttling, no retry is left, or the deadline is earlier.
func (t *throttling) next(ctx context.Context, failed *Error) (time.Duration, bool) {
	after, isKnown := failed.RetryAfter()
	if t.left <= 0 || !isKnown || failed.Code != codes.ResourceExhausted {
		return 0, false
	}
	delay := after + time.Duration(float64(after)*retryJitter*rand.Float64())
	// The longest delays have no jitter: there is no later time.
	delay = max(delay, after)
	if deadline, has := ctx.Deadline(); has && time.Until(deadline) <= delay {
		return 0, false
	}
	t.left--
	return delay, true
}

// sleep waits. The error is that of the context, if it ends before.
func sleep(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
