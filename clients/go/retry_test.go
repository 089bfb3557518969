package dashgate

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func throttled(t *testing.T, after time.Duration) error {
	t.Helper()
	failed, err := status.New(codes.ResourceExhausted, "slow").WithDetails(
		&errdetails.ErrorInfo{Reason: "CALLER_RATE"}, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if err != nil {
		t.Fatal(err)
	}
	return failed.Err()
}

func TestTheLongestDelayIsNotNegative(t *testing.T) {
	for _, seconds := range []int64{math.MinInt64, -1, math.MaxInt64} {
		failed := &Error{Code: codes.ResourceExhausted}
		failed.addDetail(&errdetails.RetryInfo{RetryDelay: &durationpb.Duration{Seconds: seconds}})
		retries := throttling{1}
		delay, again := retries.next(t.Context(), failed)
		if !again || delay < 0 || (seconds > 0) != (delay > time.Hour) {
			t.Error(seconds, delay, again)
		}
	}
}

func TestThrottledCallsAreMadeAgain(t *testing.T) {
	for name, one := range map[string]struct {
		client   []ClientOption
		call     []CallOption
		attempts int
	}{
		"not by default":    {nil, nil, 1},
		"of the client":     {[]ClientOption{WithMaxRetries(2)}, nil, 3},
		"of the call":       {nil, []CallOption{WithMaxRetries(1)}, 2},
		"the call prevails": {[]ClientOption{WithMaxRetries(2)}, []CallOption{WithMaxRetries(0)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			played := play(t)
			slow := throttled(t, time.Millisecond)
			played.converse = func(context.Context) (*dashgatev1.ConverseResponse, error) { return nil, slow }
			played.parts = slices.Repeat([]part{{end: slow}}, 9)
			client := played.client(t, one.client...)
			_, err := client.Converse(t.Context(), ask(), one.call...)
			equal(t, "code", failure(t, err).Code, codes.ResourceExhausted)
			equal(t, "attempts", len(played.names), one.attempts)
			equal(t, "request ids", len(slices.Compact(played.names)), 1)
			played.names = nil
			_, err = client.Stream(t.Context(), ask(), one.call...).Final()
			equal(t, "code", failure(t, err).Code, codes.ResourceExhausted)
			equal(t, "attempts of a stream", len(played.names), one.attempts)
			equal(t, "request ids", len(slices.Compact(played.names)), 1)
		})
	}
}

func TestThrottledStreamSucceedsLater(t *testing.T) {
	played := play(t)
	played.parts = []part{{end: throttled(t, time.Millisecond)}, {events: played.events}}
	answer, err := played.client(t).Stream(t.Context(), ask(), WithMaxRetries(1)).Final()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "hello")
}

func TestStreamWithAnEventIsNotMadeAgain(t *testing.T) {
	played := play(t)
	played.parts = []part{{events: played.events[:1], end: throttled(t, time.Millisecond)}}
	_, err := played.client(t).Stream(t.Context(), ask(), WithMaxRetries(3)).Final()
	equal(t, "code", failure(t, err).Code, codes.ResourceExhausted)
	equal(t, "attempts", len(played.names), 1)
}

func TestWaitForARetryEndsWithTheContext(t *testing.T) {
	played := play(t)
	slow := throttled(t, time.Hour)
	played.converse = func(context.Context) (*dashgatev1.ConverseResponse, error) { return nil, slow }
	played.parts = []part{{end: slow}}
	client := played.client(t, WithMaxRetries(1))
	for name, call := range map[string]func(context.Context) error{
		"unary": func(ctx context.Context) error {
			_, err := client.Converse(ctx, ask(), WithTimeout(3*time.Hour))
			return err
		},
		"stream": func(ctx context.Context) error { _, err := client.Stream(ctx, ask()).Final(); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-played.came
			cancel()
		}()
		err := call(ctx)
		cancel()
		equal(t, name, failure(t, err).Code, codes.Canceled)
	}
}

func TestDelayOfARetry(t *testing.T) {
	after := time.Second
	failed := &Error{Code: codes.ResourceExhausted, retryAfter: &after}
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	late, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shortest, longest := time.Hour, time.Duration(0)
	for range 1000 {
		retries := throttling{1}
		delay, again := retries.next(late, failed)
		if !again || retries.left != 0 {
			t.Fatal("there was no retry")
		}
		shortest, longest = min(shortest, delay), max(longest, delay)
	}
	if shortest < time.Second || longest > 1100*time.Millisecond || longest-shortest < 50*time.Millisecond {
		t.Errorf("from %v to %v", shortest, longest)
	}
	for name, one := range map[string]struct {
		ctx    context.Context
		failed *Error
		left   int
	}{
		"the deadline is earlier": {soon, failed, 1},
		"no retry is left":        {late, failed, 0},
		"no time":                 {late, &Error{Code: codes.ResourceExhausted}, 1},
		"another code":            {late, &Error{Code: codes.Unavailable, retryAfter: &after}, 1},
	} {
		retries := throttling{one.left}
		if _, again := retries.next(one.ctx, one.failed); again || retries.left != one.left {
			t.Error(name)
		}
	}
}
