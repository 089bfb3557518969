package dashgate

import (
	"context"
	"maps"
	"strings"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// maxRounds is enough for usual tools, and bounds the cost of a model that never stops calling
// them.
const maxRounds = 8

// Tool is a function that the model may call.
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
// messages are appended to the conversation. An error of a function is returned unchanged.
func (c *Client) RunTools(
	ctx context.Context, conversation *Conversation, tools []Tool, options ...CallOption,
) (*Answer, error) {
	rounds := maxRounds
	if asked := c.newCall(options).maxRounds; asked > 0 {
		rounds = asked
	}
	conversation.Declare(tools...)
	own := append(options[:len(options):len(options)], WithRequestID(""))
	for round := 0; ; round++ {
		// Each round is a call with its own request id.
		if round == 1 {
			own = append(own, callOption(func(c *call) { c.metadata = withoutName(c.metadata) }))
		}
		answer, err := c.Converse(ctx, conversation, own...)
		if err != nil {
			return nil, err
		}
		conversation.Append(answer)
		if len(answer.ToolCalls()) == 0 {
			return answer, nil
		}
		if round == rounds {
			conversation.answerAll(answer.ToolCalls(), notRun)
			return nil, roundsError(rounds)
		}
		for at, call := range answer.ToolCalls() {
			result, err := run(ctx, tools, call)
			if err != nil {
				conversation.ToolResult(call, failedRun)
				conversation.answerAll(answer.ToolCalls()[at+1:], notRun)
				return nil, err
			}
			conversation.ToolResult(call, result)
		}
	}
}

// The results of functions that brought none: no call stays unanswered.
const (
	failedRun = `{"error":"the function failed"}`
	notRun    = `{"error":"the function was not run"}`
)

func (c *Conversation) answerAll(calls []*dashgatev1.ToolCall, result string) {
	for _, call := range calls {
		c.ToolResult(call, result)
	}
}

// withoutName is the metadata of a round after the first, which is another call.
func withoutName(values map[string]string) map[string]string {
	values = maps.Clone(values)
	maps.DeleteFunc(values, func(name, _ string) bool { return strings.EqualFold(name, "x-request-id") })
	return values
}

func run(ctx context.Context, tools []Tool, call *dashgatev1.ToolCall) (string, error) {
	for _, tool := range tools {
		if tool.Name == call.GetName() {
			return tool.Function(ctx, call.GetArguments())
		}
	}
	return unknownTool(call.GetName()), nil
}
