package dashgate

import (
	"context"
	"runtime"
	"strings"
	"sync"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// maxParallel is how many functions run at the same time.
const maxParallel = 16

// toolRound runs the functions that an answer requests.
type toolRound struct {
	calls   []*dashgatev1.ToolCall
	results []toolResult
	run     func(context.Context, *dashgatev1.ToolCall) (string, error)
}

// toolResult is what came of the call of a function. A function that has begun and has not ended has
// left its goroutine by a panic or by runtime.Goexit.
type toolResult struct {
	hasBegun, hasEnded bool
	text               string
	err                error
	// panicked is the value of a panic of another goroutine than the caller's.
	panicked any
}

// runEach runs functions one after the other, up to the first error.
func (r *toolRound) runEach(ctx context.Context) {
	for at := range r.calls {
		if ctx.Err() != nil || r.runOne(ctx, at) != nil {
			return
		}
	}
}

// runAll runs functions at the same time, each also after the error of another one. A context that
// has ended begins none.
func (r *toolRound) runAll(ctx context.Context) {
	var group sync.WaitGroup
	places := make(chan struct{}, maxParallel)
	for at := range r.calls {
		places <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		group.Go(func() {
			defer func() {
				r.results[at].panicked = recover()
				<-places
			}()
			_ = r.runOne(ctx, at)
		})
	}
	group.Wait()
	// In the goroutine of the caller, who can recover: elsewhere a panic ends the process.
	for _, result := range r.results {
		if result.panicked != nil {
			panic(result.panicked)
		}
	}
	for _, result := range r.results {
		if result.hasBegun && !result.hasEnded {
			runtime.Goexit()
		}
	}
}

func (r *toolRound) runOne(ctx context.Context, at int) error {
	result := &r.results[at]
	result.hasBegun = true
	text, err := r.run(ctx, r.calls[at])
	// Of a file, for example: protobuf refuses it, and the conversation could not be continued.
	result.text, result.err = strings.ToValidUTF8(text, "\uFFFD"), err
	result.hasEnded = true
	return result.err
}

// answer appends the results in the order of the calls. No call stays unanswered.
func (r *toolRound) answer(conversation *Conversation) {
	for at, call := range r.calls {
		text := r.results[at].text
		switch result := r.results[at]; {
		case !result.hasBegun:
			text = notRun
		case !result.hasEnded || result.err != nil:
			text = failedRun
		}
		conversation.ToolResult(call, text)
	}
}

// failure returns the error of the first function that failed.
func (r *toolRound) failure() error {
	for _, result := range r.results {
		if result.err != nil {
			return result.err
		}
	}
	return nil
}
