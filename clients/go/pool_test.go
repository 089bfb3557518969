package dashgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// full returns a client whose only call, a stream, has begun.
func full(t *testing.T, played *gateway, options ...ClientOption) (*Client, *Stream) {
	t.Helper()
	played.silent = true
	played.parts = []part{{events: numbered(1, started())}}
	client := played.client(t, options...)
	client.owned.perLane, client.owned.most = 1, 1
	running := client.Stream(t.Context(), ask(), WithRequestID("running"))
	if _, err := running.Recv(); err != nil {
		t.Fatal(err)
	}
	return client, running
}

// queued waits until so many calls wait.
func queued(t *testing.T, client *Client, want int) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		client.owned.lock.Lock()
		have := client.owned.waiting.Len()
		client.owned.lock.Unlock()
		if have == want {
			return
		}
	}
	t.Fatalf("there are never %d calls that wait", want)
}

// idle waits until the client has no calls: gRPC may report the end of one after its reader.
func idle(t *testing.T, client *Client) {
	t.Helper()
	var have []int
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		client.owned.lock.Lock()
		have = []int{client.owned.waiting.Len()}
		for _, lane := range client.owned.lanes {
			have = append(have, lane.calls)
		}
		client.owned.lock.Unlock()
		if slices.Max(have) == 0 {
			return
		}
	}
	t.Fatalf("calls that wait, and those of each connection: %v", have)
}

func TestCallsBeyondThePoolWaitInTheirOrder(t *testing.T) {
	played := play(t)
	client, running := full(t, played)
	ended := make(chan error, 5)
	for at := range 5 {
		go func() {
			_, err := client.Converse(t.Context(), ask(), WithRequestID(fmt.Sprint(at)))
			ended <- err
		}()
		queued(t, client, at+1)
	}
	equal(t, "calls", len(played.names), 1)
	running.Close()
	for range 5 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	equal(t, "order", played.names, []string{"running", "0", "1", "2", "3", "4"})
	_ = client.Close()
	idle(t, client)
}

func TestAnotherConnectionIsOpenedBeforeACallWaits(t *testing.T) {
	played := play(t)
	client, running := full(t, played)
	client.owned.most = 2
	if _, err := client.Converse(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	equal(t, "connections", len(client.owned.lanes), 2)
	running.Close()
}

func TestACallThatWaitsHasItsDeadlineAndCanBeCancelled(t *testing.T) {
	played := play(t)
	client, running := full(t, played)
	_, err := client.Converse(t.Context(), ask(), WithTimeout(20*time.Millisecond))
	failed := failure(t, err)
	equal(t, "code", failed.Code, codes.DeadlineExceeded)
	equal(t, "reason", failed.Reason, dashgatev1.ErrorReason_DEADLINE_EXCEEDED)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() {
		_, err := client.Converse(ctx, ask())
		ended <- err
	}()
	go func() {
		_, err := client.Stream(ctx, ask()).Final()
		ended <- err
	}()
	queued(t, client, 2)
	cancel()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) || failure(t, err).Code != codes.Canceled {
			t.Error(err)
		}
	}
	running.Close()
	equal(t, "calls", played.names, []string{"running"})
	equal(t, "cancelled", played.cancelledAtEnd(t, client), []string{"running"})
	idle(t, client)
}

func TestTheIdleTimeoutDoesNotRunWhileACallWaits(t *testing.T) {
	played := play(t)
	const short = 300 * time.Millisecond
	client, running := full(t, played, WithIdleTimeout(short))
	begun := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := client.Stream(t.Context(), ask()).Final()
		ended <- err
	}()
	queued(t, client, 1)
	// The stream that runs has no event either, and is over when nothing came for this time.
	if _, err := running.Recv(); failure(t, err).RawReason != "STREAM_IDLE" {
		t.Error(err)
	}
	if err := <-ended; failure(t, err).RawReason != "STREAM_IDLE" {
		t.Error(err)
	}
	if waited := time.Since(begun); waited < 2*short {
		t.Errorf("it ended after %v", waited)
	}
}

func TestClosingTheClientEndsCallsThatWait(t *testing.T) {
	played := play(t)
	client, running := full(t, played)
	ended := make(chan error, 1)
	go func() {
		_, err := client.Converse(t.Context(), ask())
		ended <- err
	}()
	queued(t, client, 1)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	equal(t, "code", failure(t, <-ended).Code, codes.Canceled)
	running.Close()
	idle(t, client)
	if err := client.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestTheEndOfAStreamDoesNotWaitForOthers(t *testing.T) {
	played := play(t)
	client, running := full(t, played)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		_, _ = client.Stream(ctx, ask(), WithResume(false)).Final()
		close(ended)
	}()
	queued(t, client, 1)
	running.Close()
	// The other stream has the only connection now.
	equal(t, "cancelled", played.ends(t, 1), []string{"running"})
	cancel()
	<-ended
}

func TestAConnectionOfACallThatWasLeftIsGivenOn(t *testing.T) {
	client, running := full(t, play(t))
	defer running.Close()
	pool := client.owned
	spare, _ := pool.free(true)
	_, first := pool.free(false)
	_, second := pool.free(false)
	pool.release(spare)
	equal(t, "those that wait", pool.waiting.Len(), 2)
	pool.release(pool.lanes[0])
	// The first has the connection now, and is left at the same moment.
	pool.leave(first)
	equal(t, "the second has it", <-second.Value.(chan *lane), pool.lanes[0])
	pool.leave(first)
	pool.leave(second)
	equal(t, "calls", pool.lanes[0].calls, 1)
}

func TestTheEndOfACallNeedsNoPlaceInThePool(t *testing.T) {
	played := play(t, grpc.MaxConcurrentStreams(1))
	client, running := full(t, played)
	defer running.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := client.Converse(t.Context(), ask(), WithRequestID("waits"))
		ended <- err
	}()
	queued(t, client, 1)
	for _, requestID := range []string{"a", "b"} {
		if err := client.CancelCall(t.Context(), requestID, WithTimeout(limit)); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "cancelled", played.ends(t, 2), []string{"a", "b"})
	// The connection for it takes no other calls.
	queued(t, client, 1)
	equal(t, "calls", played.names, []string{"running"})
	equal(t, "connections", len(client.owned.lanes), 1)
	running.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_ = client.Close()
	idle(t, client)
	if state := client.owned.spare.conn.GetState(); state != connectivity.Shutdown {
		t.Error(state)
	}
}

func TestNothingIsLeftOfCallsThatLeaveAtAnyTime(t *testing.T) {
	played := play(t)
	played.came, played.ended = make(chan struct{}, 1000), make(chan struct{}, 1000)
	client := played.client(t)
	client.owned.perLane, client.owned.most = 2, 2
	var group sync.WaitGroup
	for at := range 200 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if at%3 != 0 {
				time.AfterFunc(time.Duration(at)*100*time.Microsecond, cancel)
			}
			var err error
			if at%2 == 0 {
				_, err = client.Converse(ctx, ask())
			} else {
				_, err = client.Stream(ctx, ask(), WithResume(false)).Final()
			}
			if err != nil && failure(t, err).Code != codes.Canceled {
				t.Error(err)
			}
		})
	}
	group.Wait()
	idle(t, client)
	equal(t, "connections", len(client.owned.lanes), 2)
}

func TestAClientThatIsClosedWaitsForStreamsThatAreLeft(t *testing.T) {
	for range 20 {
		played := play(t)
		var events []part
		for range 8 {
			events = append(events, part{events: numbered(1, started())})
		}
		played.silent, played.parts = true, events
		client := played.client(t)
		var streams []*Stream
		for range 8 {
			stream := client.Stream(t.Context(), ask())
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, stream)
		}
		left := make(chan struct{})
		for _, stream := range streams {
			go func() {
				stream.Close()
				left <- struct{}{}
			}()
		}
		// The others are being left when the client is closed.
		<-left
		client.leavings.begin()
		go func() {
			for range 7 {
				<-left
			}
			client.leavings.end()
		}()
		equal(t, "cancelled", len(played.cancelledAtEnd(t, client)), 8)
	}
}
