package dashgate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// many returns an answer that calls a tool so many times, with the ids 0, 1, 2 ...
func many(count int) *dashgatev1.ConverseResponse {
	response := calls("f")
	message := response.GetChoices()[0].GetMessage()
	message.ToolCalls = nil
	for at := range count {
		message.ToolCalls = append(message.ToolCalls, &dashgatev1.ToolCall{
			Index: int32(at), Id: fmt.Sprint(at), Name: "f", Arguments: "{}",
		})
	}
	return response
}

// first lets the gateway answer the first call with this, and the others with a text.
func (g *gateway) first(response *dashgatev1.ConverseResponse) {
	g.converse = func(context.Context) (*dashgatev1.ConverseResponse, error) {
		now := response
		response = says("done")
		return now, nil
	}
}

func TestAResultThatIsNotUTF8IsRepaired(t *testing.T) {
	for _, isParallel := range []bool{false, true} {
		played := play(t)
		played.first(many(2))
		tool := Tool{Name: "f", Function: func(context.Context, string) (string, error) { return "caf\xe9 \xff\xfe!", nil }}
		conversation := ask()
		_, err := played.client(t).RunTools(t.Context(), conversation, []Tool{tool}, WithParallel(isParallel))
		if err != nil {
			t.Error(err)
		}
		equal(t, "results", results(conversation), []string{"0=caf\uFFFD \uFFFD!", "1=caf\uFFFD \uFFFD!"})
	}
}

func TestAtMost16FunctionsRunAtOnce(t *testing.T) {
	played := play(t)
	played.first(many(50))
	var running, most atomic.Int32
	var lock sync.Mutex
	together := make(chan struct{})
	count := 0
	tool := Tool{Name: "f", Function: func(context.Context, string) (string, error) {
		now := running.Add(1)
		defer running.Add(-1)
		for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
		}
		lock.Lock()
		if count++; count == maxParallel {
			close(together)
		}
		lock.Unlock()
		within(t, "16 run at once", together)
		return "ok", nil
	}}
	conversation := ask()
	if _, err := played.client(t).RunTools(t.Context(), conversation, []Tool{tool}, WithParallel(true)); err != nil {
		t.Fatal(err)
	}
	equal(t, "at once", most.Load(), maxParallel)
	got := results(conversation)
	equal(t, "results", []any{len(got), got[0], got[49]}, []any{50, "0=ok", "49=ok"})
}

func TestAConversationCanBeContinuedHoweverItsToolsEnd(t *testing.T) {
	broken := errors.New("broken")
	for name, tool := range map[string]struct {
		// end is how the second of three functions ends.
		end func(cancel func()) error
		// panics is what reaches the caller, err the error.
		panics any
		code   codes.Code
		err    error
		exits  bool
		// each and all are the results of functions one after the other and in parallel.
		each, all []string
	}{
		"an error": {
			end: func(func()) error { return broken }, err: broken,
			each: []string{"0=ok", "1=" + failedRun, "2=" + notRun}, all: []string{"0=ok", "1=" + failedRun, "2=ok"},
		},
		"a panic": {
			end: func(func()) error { panic("broken") }, panics: "broken",
			each: []string{"0=ok", "1=" + failedRun, "2=" + notRun}, all: []string{"0=ok", "1=" + failedRun, "2=ok"},
		},
		"the end of its goroutine": {
			end: func(func()) error { runtime.Goexit(); return nil }, exits: true,
			each: []string{"0=ok", "1=" + failedRun, "2=" + notRun}, all: []string{"0=ok", "1=" + failedRun, "2=ok"},
		},
		"a cancellation": {
			end: func(cancel func()) error { cancel(); return nil }, code: codes.Canceled,
			each: []string{"0=ok", "1=ok", "2=" + notRun},
		},
	} {
		for _, isParallel := range []bool{false, true} {
			for _, isStream := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %v, %v", name, isParallel, isStream), func(t *testing.T) {
					played := play(t)
					played.first(many(3))
					played.parts = []part{callsOf(many(3))}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					var at atomic.Int32
					function := Tool{Name: "f", Function: func(context.Context, string) (string, error) {
						if at.Add(1) == 2 {
							if err := tool.end(cancel); err != nil {
								return "", err
							}
						}
						return "ok", nil
					}}
					conversation := ask()
					client := played.client(t)
					var err error
					var stream *ToolStream
					returned := false
					recovered := make(chan any, 1)
					go func() {
						defer func() { recovered <- recover() }()
						options := []CallOption{WithParallel(isParallel)}
						if isStream {
							stream = client.StreamTools(ctx, conversation, []Tool{function}, options...)
							_, err = stream.Final()
						} else {
							_, err = client.RunTools(ctx, conversation, []Tool{function}, options...)
						}
						returned = true
					}()
					equal(t, "panic", <-recovered, tool.panics)
					equal(t, "returned", returned, tool.panics == nil && !tool.exits)
					if tool.err != nil {
						equal(t, "error", err, tool.err)
					}
					if tool.code != codes.OK {
						equal(t, "code", failure(t, err).Code, tool.code)
					}
					if isStream && !returned {
						_, err := stream.Final()
						equal(t, "code afterwards", failure(t, err).Code, codes.Canceled)
					}
					got := results(conversation)
					if isParallel && tool.all == nil {
						equal(t, "results", len(got), 3)
						return
					}
					want := tool.each
					if isParallel {
						want = tool.all
						// Which of them was the second is not known.
						for at, result := range got {
							if result == fmt.Sprintf("%d=%s", at, failedRun) {
								got[at], got[1] = fmt.Sprintf("%d=ok", at), "1="+failedRun
							}
						}
					}
					equal(t, "results", got, want)
				})
			}
		}
	}
}

func TestAStreamOfToolsThatIsLeftAtItsLastEventHasNoUnansweredCall(t *testing.T) {
	played := play(t)
	played.parts = []part{callsOf(many(2))}
	conversation := ask()
	run := func(context.Context, string) (string, error) { return "ok", nil }
	stream := played.client(t).StreamTools(t.Context(), conversation, []Tool{{Name: "f", Function: run}})
	for event, err := range stream.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if event.GetCompleted() != nil {
			break
		}
	}
	_, err := stream.Final()
	equal(t, "code", failure(t, err).Code, codes.Canceled)
	equal(t, "messages", len(conversation.Raw.GetMessages()), 1)
}

// callsOf returns the tool calls of an answer as a stream.
func callsOf(response *dashgatev1.ConverseResponse) part {
	events := []*dashgatev1.ConverseStreamResponse{started()}
	for _, call := range response.GetChoices()[0].GetMessage().GetToolCalls() {
		events = append(events, of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_ToolCall{ToolCall: call}}))
	}
	return part{events: append(events, completed())}
}
