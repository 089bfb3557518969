package dashgate

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// maxRounds is enough for usual tools, and bounds the cost of a model that never stops calling
// them.
const maxRounds = 8

// The results of functions that brought none: no call stays unanswered.
const (
	failedRun = `{"error":"the function failed"}`
	notRun    = `{"error":"the function was not run"}`
)

// Tool is a function that the model may call. NewTool derives one from a Go function.
type Tool struct {
	// Name is letters, digits, _ and -, at most 64.
	Name string
	// Description describes what the tool does and when to call it.
	Description string
	// Parameters is the JSON Schema of the arguments, as JSON text; empty means no arguments.
	Parameters string
	// Function receives the arguments as JSON text, as written by the model, which may be invalid, and
	// returns the result.
	Function func(ctx context.Context, arguments string) (string, error)
}

func (t Tool) declaration() *dashgatev1.Tool {
	return &dashgatev1.Tool{Kind: &dashgatev1.Tool_Function{Function: &dashgatev1.FunctionTool{
		Name: t.Name, Description: t.Description, Parameters: t.Parameters,
	}}}
}

// RunTools runs the tools that the model calls until it returns an answer without tool calls. All
// messages are appended to the conversation. An error of a function is returned unchanged. Each round is
// a call; a given request id is that of the first.
func (c *Client) RunTools(
	ctx context.Context, conversation *Conversation, tools []Tool, options ...CallOption,
) (*Answer, error) {
	loop, refused := c.newToolLoop(ctx, conversation, tools, options)
	if refused != nil {
		return nil, refused
	}
	for {
		answer, err := c.Converse(ctx, conversation, loop.options...)
		if err != nil {
			return nil, err
		}
		if isLast, err := loop.next(ctx, answer); err != nil {
			return nil, err
		} else if isLast {
			return answer, nil
		}
	}
}

// toolLoop is the state of a loop of tools.
type toolLoop struct {
	conversation *Conversation
	tools        []Tool
	// rounds is how many are left.
	rounds   int
	limit    int
	parallel bool
	// options are those of the next call. Each round is a call with its own request id, of which the
	// caller may choose the first.
	options []CallOption
}

func (c *Client) newToolLoop(
	ctx context.Context, conversation *Conversation, tools []Tool, options []CallOption,
) (*toolLoop, *Error) {
	call := c.newCall(options)
	if refused := call.refuseConversation(ctx, conversation); refused != nil {
		return nil, refused
	}
	if place := nilFunction(tools); place != "" {
		return nil, nilArgument(place, call.requestID)
	}
	limit := maxRounds
	if call.maxRounds > 0 {
		limit = call.maxRounds
	}
	conversation.Declare(tools...)
	return &toolLoop{
		conversation: conversation, tools: tools, rounds: limit, limit: limit, parallel: call.parallel,
		options: slices.Clip(options),
	}, nil
}

// next appends an answer and runs the functions that it requests. It is true if it requests none.
func (l *toolLoop) next(ctx context.Context, answer *Answer) (bool, error) {
	l.conversation.Append(answer)
	calls := answer.ToolCalls()
	if len(calls) == 0 {
		return true, nil
	}
	if l.rounds == 0 {
		for _, call := range calls {
			l.conversation.ToolResult(call, notRun)
		}
		return false, roundsError(l.limit)
	}
	l.rounds--
	l.options = append(l.options, callOption(followingRound))
	round := toolRound{calls: calls, results: make([]toolResult, len(calls)), run: l.runOne}
	// Also if a function panics: the conversation can be continued.
	defer round.answer(l.conversation)
	if l.parallel {
		round.runAll(ctx)
	} else {
		round.runEach(ctx)
	}
	return false, round.failure()
}

// followingRound removes what is of the first call only, such as its request id.
func followingRound(c *call) {
	c.requestID = ""
	c.metadata = withoutRequestID(c.metadata)
	c.expectedTurn = nil
}

// errorResult returns the result of a call that cannot be run, from which the model can learn.
func errorResult(problem string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	// The other clients do not escape for HTML.
	encoder.SetEscapeHTML(false)
	// A struct of a text is always encoded.
	_ = encoder.Encode(struct {
		Error string `json:"error"`
	}{problem})
	return strings.TrimSpace(text.String())
}

// runOne runs the function of a call.
func (l *toolLoop) runOne(ctx context.Context, call *dashgatev1.ToolCall) (string, error) {
	for _, tool := range l.tools {
		if tool.Name == call.GetName() {
			return tool.Function(ctx, call.GetArguments())
		}
	}
	return errorResult("there is no tool " + call.GetName()), nil
}
