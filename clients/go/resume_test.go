package dashgate

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// numbered gives the events their sequence numbers, from this one. Started is resumable.
func numbered(
	first int32, events ...*dashgatev1.ConverseStreamResponse,
) []*dashgatev1.ConverseStreamResponse {
	for at, event := range events {
		event.Sequence = first + int32(at)
		if started := event.GetStarted(); started != nil {
			started.Resumable = true
		}
	}
	return events
}

func lost() error { return status.Error(codes.Unavailable, "the connection is gone") }

func withReason(code codes.Code, reason string) error {
	failed, err := status.New(code, "it failed").WithDetails(&errdetails.ErrorInfo{Reason: reason})
	if err != nil {
		return err
	}
	return failed.Err()
}

func (g *gateway) ends(t *testing.T, count int) []string {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		g.lock.Lock()
		cancelled := slices.Clone(g.cancelled)
		g.lock.Unlock()
		if len(cancelled) >= count {
			return cancelled
		}
	}
	t.Fatal("CancelCall was not called")
	return nil
}

// cancelledAtEnd closes the client, which waits for the calls of CancelCall, and returns their
// request ids.
func (g *gateway) cancelledAtEnd(t *testing.T, client *Client) []string {
	t.Helper()
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	g.lock.Lock()
	defer g.lock.Unlock()
	return slices.Clone(g.cancelled)
}

func TestStreamContinuesAfterALostConnection(t *testing.T) {
	played := play(t)
	played.parts = []part{
		{numbered(1, started(), delta("a"), delta("b")), lost()},
		{numbered(4, delta("c")), status.Error(codes.Internal, "RST_STREAM")},
		// One that was received is not reported again.
		{numbered(4, delta("c"), delta("d")), withReason(codes.Unavailable, "SHUTTING_DOWN")},
		{numbered(6, completed()), nil},
	}
	client := played.client(t)
	stream := client.Stream(t.Context(), ask())
	answer, err := stream.Final()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "abcd")
	equal(t, "after", played.after, []int32{0, 3, 4, 5})
	equal(t, "resumes", stream.Resumes(), 3)
	if slices.ContainsFunc(played.names, func(name string) bool { return name != stream.RequestID }) {
		t.Error("the request id changed:", played.names)
	}
	equal(t, "cancelled", played.cancelledAtEnd(t, client), []string(nil))
}

func TestLostConnectionAfterTheLastEventIsTheEnd(t *testing.T) {
	played := play(t)
	played.parts = []part{{numbered(1, started(), delta("a"), completed()), lost()}}
	answer, err := played.client(t).Stream(t.Context(), ask()).Final()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "a")
	equal(t, "calls", len(played.names), 1)
}

func TestErrorOfAStreamThatCannotBeResumed(t *testing.T) {
	for _, refusal := range []error{
		withReason(codes.OutOfRange, "RESUME_GAP"), withReason(codes.NotFound, "CALL_NOT_FOUND"),
		status.Error(codes.Unimplemented, "unknown"),
	} {
		played := play(t)
		played.parts = []part{{numbered(1, started(), delta("a")), lost()}, {nil, refusal}}
		_, err := played.client(t).Stream(t.Context(), ask()).Final()
		failed := failure(t, err)
		equal(t, "message", failed.Message, "the connection is gone")
		equal(t, "output", failed.OutputStarted, true)
	}
	played := play(t)
	played.parts = []part{
		{numbered(1, started(), delta("a")), lost()}, {nil, withReason(codes.Aborted, "CALL_CANCELLED")},
	}
	_, err := played.client(t).Stream(t.Context(), ask()).Final()
	equal(t, "reason", failure(t, err).RawReason, "CALL_CANCELLED")
	// Events are missing.
	played = play(t)
	played.parts = []part{
		{numbered(1, started(), delta("a")), lost()}, {numbered(4, completed()), nil},
	}
	_, err = played.client(t).Stream(t.Context(), ask()).Final()
	equal(t, "message", failure(t, err).Message, "the connection is gone")
}

func TestStreamThatIsNotResumed(t *testing.T) {
	older := numbered(1, started(), delta("a"))
	older[0].GetStarted().Resumable = false
	for name, one := range map[string]struct {
		part
		options []CallOption
	}{
		"opted out":       {part{numbered(1, started(), delta("a")), lost()}, []CallOption{WithResume(false)}},
		"older gateway":   {part{older, lost()}, nil},
		"final error":     {part{numbered(1, started()), withReason(codes.Internal, "OWNER_LOST")}, nil},
		"truncated by OK": {part{numbered(1, started()), nil}, nil},
	} {
		played := play(t)
		played.parts = []part{one.part}
		client := played.client(t)
		stream := client.Stream(t.Context(), ask(), one.options...)
		if _, err := stream.Final(); err == nil {
			t.Error(name)
		}
		equal(t, name, stream.Resumes(), 0)
		equal(t, name, played.cancelledAtEnd(t, client), []string(nil))
	}
}

func TestAttemptsToResumeAreLimited(t *testing.T) {
	state := resumption{wanted: true, can: true, sequence: 3}
	first := &Error{Code: codes.Unavailable, Message: "first"}
	for range resumeAttempts {
		if end := state.after(first); end != nil {
			t.Fatal(end)
		}
		state.attempts++
		first = &Error{Code: codes.Unavailable, Message: "later"}
	}
	equal(t, "error", state.after(first).Message, "first")
}

func TestResumingEndsAtTheDeadline(t *testing.T) {
	played := play(t)
	played.parts = []part{{numbered(1, started(), delta("a")), lost()}}
	played.events, played.silent = nil, true
	stream := played.client(t).Stream(t.Context(), ask(), WithTimeout(700*time.Millisecond))
	_, err := stream.Final()
	equal(t, "code", failure(t, err).Code, codes.DeadlineExceeded)
	equal(t, "cancelled", played.ends(t, 1), []string{stream.RequestID})
}

func TestLeavingAStreamCancelsItsCall(t *testing.T) {
	played := play(t)
	played.events, played.silent = numbered(1, started(), delta("a")), true
	client := played.client(t)
	stream := client.Stream(t.Context(), ask(), WithRequestID("mine"))
	for range stream.Events() {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := client.Stream(ctx, ask())
	_, _ = second.Recv()
	cancel()
	if _, err := second.Final(); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	// Closing the client waits for it.
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	got := played.ends(t, 2)
	slices.Sort(got)
	want := []string{"mine", second.RequestID}
	slices.Sort(want)
	equal(t, "cancelled", got, want)
}

func TestLeavingAStreamThatFailsAtTheSameTimeCancelsItsCall(t *testing.T) {
	played := play(t)
	played.parts = []part{{numbered(1, started(), delta("a")), lost()}}
	client := played.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream := client.Stream(ctx, ask())
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	// As if the connection was lost just before.
	stream.recover(lost())
	equal(t, "cancelled", played.cancelledAtEnd(t, client), []string{stream.RequestID})
}

func TestLeavingAStreamAfterItsLastEventCancelsNothing(t *testing.T) {
	played := play(t)
	played.events, played.silent = numbered(1, started(), delta("a"), completed()), true
	client := played.client(t)
	stream := client.Stream(t.Context(), ask())
	for event := range stream.Events() {
		if event.GetCompleted() != nil {
			break
		}
	}
	equal(t, "cancelled", played.cancelledAtEnd(t, client), []string(nil))
}

func TestDeadlineDoesNotCancelACallWithAGivenID(t *testing.T) {
	played := play(t)
	played.events, played.silent = numbered(1, started(), delta("a")), true
	client := played.client(t)
	options := []CallOption{WithRequestID("mine"), WithTimeout(200 * time.Millisecond)}
	_, err := client.Stream(t.Context(), ask(), options...).Final()
	equal(t, "code", failure(t, err).Code, codes.DeadlineExceeded)
	equal(t, "cancelled", played.cancelledAtEnd(t, client), []string(nil))
}

func TestConnectionLostAtTheDeadlineDoesNotCancelACallWithAGivenID(t *testing.T) {
	played := play(t)
	played.events, played.silent = numbered(1, started(), delta("a")), true
	client := played.client(t)
	for _, options := range [][]CallOption{{WithRequestID("mine")}, nil} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		stream := client.Stream(ctx, ask(), options...)
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		stream.recover(lost())
		if stream.RequestID != "mine" {
			equal(t, "cancelled", played.cancelledAtEnd(t, client), []string{stream.RequestID})
		}
	}
}

func TestCancelCall(t *testing.T) {
	played := play(t)
	if err := played.client(t).CancelCall(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	equal(t, "cancelled", played.cancelled, []string{"mine"})
}
