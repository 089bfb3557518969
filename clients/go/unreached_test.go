package dashgate

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// closedPort returns an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	return listener.Addr().String()
}

// mustBeUnreached makes each form of call with a short deadline.
func mustBeUnreached(t *testing.T, client *Client, deadline time.Duration, parts ...string) {
	t.Helper()
	for form, call := range forms {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			failed := failure(t, call(ctx, client))
			if failed.Code != codes.Unavailable || !failed.Retryable || failed.RawReason != "" ||
				failed.Reason != dashgatev1.ErrorReason_ERROR_REASON_UNSPECIFIED {
				t.Errorf("%+v", failed)
			}
			for _, part := range parts {
				if strings.Count(failed.Error(), part) != 1 {
					t.Errorf("%q is not once in %q", part, failed)
				}
			}
			if isLate := ctx.Err() != nil; isLate && !errors.Is(failed, context.DeadlineExceeded) {
				t.Errorf("it does not wrap the end of the context: %v", failed)
			}
		})
	}
}

func TestADeadlineBetweenAttemptsAtAClosedPort(t *testing.T) {
	address := closedPort(t)
	client, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	// The first retries are after 0.4 to 0.6 s and 0.8 to 1.2 s.
	mustBeUnreached(t, client, time.Second, address, "connection refused")
}

func TestADeadlineBetweenAttemptsWithoutAName(t *testing.T) {
	client, err := New("gateway.invalid:5999")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	// The cause is that of the machine's resolver, which may take longer than the deadline.
	mustBeUnreached(t, client, time.Second, "gateway.invalid:5999")
}

func TestADeadlineWhileAConnectionIsMade(t *testing.T) {
	address := listen(t, func(net.Conn) {})
	client, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	mustBeUnreached(t, client, 100*time.Millisecond, address, "no connection")
}

func TestAContextThatIsOverBeforeItsCall(t *testing.T) {
	address := closedPort(t)
	own, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	given := givenConnClient(t, address)
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
	t.Cleanup(cancel)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, client := range map[string]*Client{"own": own, "given": given} {
		for form, call := range forms {
			t.Run(name+"/"+form, func(t *testing.T) {
				// A loop that repeats what is retryable until the context is over would not end.
				late := failure(t, call(expired, client))
				equal(t, "code", late.Code, codes.DeadlineExceeded)
				equal(t, "retryable", late.Retryable, false)
				equal(t, "is a deadline", errors.Is(late, context.DeadlineExceeded), true)
				left := failure(t, call(cancelled, client))
				equal(t, "code", left.Code, codes.Canceled)
				equal(t, "is cancelled", errors.Is(left, context.Canceled), true)
			})
		}
	}
}

func TestADeadlineWhileANameIsResolved(t *testing.T) {
	slow := manual.NewBuilderWithScheme("dns")
	client, err := New("gateway:5999", WithDialOptions(grpc.WithResolvers(slow)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	mustBeUnreached(t, client, 100*time.Millisecond, "gateway:5999", "no connection")
}

func TestADeadlineWithoutAConnectionOfAGivenConn(t *testing.T) {
	address := listen(t, func(net.Conn) {})
	client := givenConnClient(t, address)
	mustBeUnreached(t, client, 100*time.Millisecond, address, "no connection")
}

func TestAnIdleTimeoutWithoutAConnection(t *testing.T) {
	address := listen(t, func(net.Conn) {})
	client, err := New(address, WithIdleTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Stream(t.Context(), ask()).Final()
	failed := failure(t, err)
	equal(t, "code", failed.Code, codes.Unavailable)
	equal(t, "is cancelled", errors.Is(err, context.Canceled), false)
	// The call was never sent, so that there is none to end.
	equal(t, "streams that are left", client.leavings.running, 0)
}

func TestASlowGatewayIsADeadline(t *testing.T) {
	played := play(t, grpc.MaxConcurrentStreams(1))
	played.silent, played.stalled = true, true
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	passed := givenConnClient(t, played.address)
	for name, client := range map[string]*Client{"own": played.client(t), "given": passed} {
		for _, form := range []string{"converse", "final", "run tools", "upload"} {
			for _, attempt := range []string{"in the gateway", "before a stream is free"} {
				t.Run(name+"/"+form+"/"+attempt, func(t *testing.T) {
					if attempt != "in the gateway" {
						ctx, cancel := context.WithCancel(t.Context())
						taken := client.Stream(ctx, ask(), WithResume(false))
						defer taken.Close()
						defer cancel()
					}
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					failed := failure(t, forms[form](ctx, client))
					equal(t, "code", failed.Code, codes.DeadlineExceeded)
					equal(t, "reason", failed.RawReason, "DEADLINE_EXCEEDED")
				})
			}
		}
	}
}

func TestAStreamWhoseGatewayDoesNotComeBackInTime(t *testing.T) {
	played := play(t)
	played.header = map[string]string{resumableKey: "true"}
	played.parts = []part{
		{events: numbered(1, started(), delta("hel")), end: lost()},
		{end: lost()}, {end: lost()}, {end: lost()}, {end: lost()},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := played.client(t).Stream(ctx, ask()).Final()
	failed := failure(t, err)
	equal(t, "code", failed.Code, codes.Unavailable)
	equal(t, "retryable", failed.Retryable, true)
	equal(t, "output", failed.OutputStarted, true)
	equal(t, "is a deadline", errors.Is(err, context.DeadlineExceeded), true)
}

func TestTheNameOfTheAddressIsInTheError(t *testing.T) {
	// The cause has the address that the name has.
	client, err := New("gateway:5999", WithDialOptions(grpc.WithDisableRetry(), grpc.WithResolvers(resolved("127.0.0.1:9"))))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Converse(t.Context(), ask())
	for _, part := range []string{"gateway:5999: ", "127.0.0.1:9", "refused"} {
		if !strings.Contains(failure(t, err).Message, part) {
			t.Error(part, err)
		}
	}
}

func resolved(address string) resolver.Builder {
	fixed := manual.NewBuilderWithScheme("dns")
	fixed.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: address}}})
	return fixed
}

func TestLogOfTheCausesOfAttempts(t *testing.T) {
	log := logged(t, "debug")
	address := closedPort(t)
	client, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = client.Converse(ctx, ask(), WithRequestID("r-1"))
	equal(t, "code", failure(t, err).Code, codes.Unavailable)
	mustMatch(t, log,
		`dashgate: attempt 1 of Converse failed: UNAVAILABLE: connection error: .*dial tcp `+address+`: .*refused.*, request id r-1`,
		`dashgate: attempt 2 of Converse failed: UNAVAILABLE: connection error: .*refused.*, request id r-1`,
		`dashgate: retry 1 of Converse after \d+ ms, request id r-1`,
		`dashgate: Converse UNAVAILABLE \d+ ms, request id r-1, `+address)
}

func TestLogOfAttemptsHasNoMessageOfAServer(t *testing.T) {
	log := logged(t, "debug")
	played := play(t)
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		return nil, refuse(ctx, codes.Unavailable, "-1")
	}
	_, err := played.client(t).Converse(t.Context(), ask(), WithRequestID("r-1"))
	equal(t, "code", failure(t, err).Code, codes.Unavailable)
	mustMatch(t, log, `dashgate: attempt 1 of Converse failed: UNAVAILABLE, request id r-1`)
	if strings.Contains(log.String(), "it failed") {
		t.Error(log)
	}
}
