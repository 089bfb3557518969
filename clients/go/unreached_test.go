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
	mustAllBeUnreached(t, client, forms, deadline, parts...)
}

func mustAllBeUnreached(
	t *testing.T, client *Client, calls map[string]func(context.Context, *Client) error,
	deadline time.Duration, parts ...string,
) {
	t.Helper()
	for form, call := range calls {
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

func TestAStreamThatIsLeftWithoutAConnection(t *testing.T) {
	address := listen(t, func(net.Conn) {})
	own, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]*Client{"own": own, "given": givenConnClient(t, address)} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := client.Stream(ctx, ask()).Final()
		equal(t, name, failure(t, err).Code, codes.Canceled)
		equal(t, "streams that are left", client.leavings.running, 0)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAStreamThatIsLeftBeforeItsHeadersEndsItsCall(t *testing.T) {
	played := play(t)
	played.silent = true
	for name, client := range map[string]*Client{
		"own": played.client(t), "given": givenConnClient(t, played.address),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		stream := client.Stream(ctx, ask(), WithRequestID(name))
		<-played.came
		cancel()
		_, err := stream.Final()
		equal(t, "code", failure(t, err).Code, codes.Canceled)
		equal(t, "cancelled", played.cancelledAtEnd(t, client), []string{name})
		played.cancelled = nil
	}
}

func TestADeadlineOfACallThatWaitsForOthers(t *testing.T) {
	address := listen(t, func(net.Conn) {})
	client, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	client.owned.perLane, client.owned.most = 1, 1
	go func() { _, _ = client.Converse(t.Context(), ask()) }()
	for taken := false; !taken; time.Sleep(time.Millisecond) {
		client.owned.lock.Lock()
		taken = client.owned.lanes[0].calls == 1
		client.owned.lock.Unlock()
	}
	queues := map[string]func(context.Context, *Client) error{}
	for _, form := range []string{"converse", "final", "upload", "run tools", "live", "list models"} {
		queues[form] = forms[form]
	}
	mustAllBeUnreached(t, client, queues, 100*time.Millisecond, address, "no connection")
}

// One of the calls uploads the file, the others wait for it.
func TestADeadlineOfACallThatWaitsForAnUpload(t *testing.T) {
	address := listen(t, func(net.Conn) {})
	own, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	part, err := AudioFile(written(t, "a.wav", large()))
	if err != nil {
		t.Fatal(err)
	}
	waits := func(ctx context.Context, client *Client) error {
		_, err := client.Converse(ctx, NewConversation("m").User(part))
		return err
	}
	calls := map[string]func(context.Context, *Client) error{"1": waits, "2": waits, "3": waits}
	for name, client := range map[string]*Client{"own": own, "given": givenConnClient(t, address)} {
		t.Run(name, func(t *testing.T) {
			mustAllBeUnreached(t, client, calls, 200*time.Millisecond, address, "no connection")
		})
	}
	played := play(t)
	played.stalled = true
	client := played.client(t)
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := client.Converse(t.Context(), NewConversation("m").User(part), WithTimeout(time.Second))
			ended <- err
		}()
	}
	for range 2 {
		failed := failure(t, <-ended)
		equal(t, "code of a slow gateway", failed.Code, codes.DeadlineExceeded)
		equal(t, "retryable", failed.Retryable, false)
	}
}

// The last call of a connection that takes no more, of a gateway that shuts down.
func TestAGatewayThatShutsDownDuringASlowCall(t *testing.T) {
	played := play(t)
	played.silent = true
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	clients := map[string]*Client{"own": played.client(t), "given": givenConnClient(t, played.address)}
	type outcome struct {
		name string
		err  error
	}
	ended := make(chan outcome)
	for name, client := range clients {
		for _, form := range []string{"converse", "final"} {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				ended <- outcome{name + " " + form, forms[form](ctx, client)}
			}()
			<-played.came
		}
	}
	// One that waits is not sent, and is not unavailable: the gateway is there.
	full := played.client(t)
	full.owned.perLane, full.owned.most = 1, 1
	waiting := make(chan error)
	for _, timeout := range []time.Duration{1200 * time.Millisecond, time.Second} {
		go func() {
			_, err := full.Converse(t.Context(), ask(), WithTimeout(timeout))
			waiting <- err
		}()
		if timeout > time.Second {
			<-played.came
		}
	}
	queued(t, full, 1)
	go played.server.GracefulStop()
	time.Sleep(300 * time.Millisecond)
	for name, client := range clients {
		// It is refused, and the channel connects for it.
		_, err := client.Converse(t.Context(), ask(), WithTimeout(300*time.Millisecond))
		equal(t, name+", another call", failure(t, err).Code, codes.Unavailable)
	}
	for range 2 {
		failed := failure(t, <-waiting)
		equal(t, "of a full pool", failed.Code, codes.DeadlineExceeded)
	}
	for range 4 {
		one := <-ended
		failed := failure(t, one.err)
		equal(t, one.name, failed.Code, codes.DeadlineExceeded)
		equal(t, one.name, failed.Retryable, false)
	}
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
