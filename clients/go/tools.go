package dashgate

import (
	"context"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// maxRounds is enough for any tool that is used with sense: a model that asks on and on would cost
// without end.
const maxRounds = 8

// Tool is a function that the model may call.
type Tool struct {
	// Name is letters, digits, _ and -, at most 64.
	Name string
	// Description says what it does and when to call it.
	Description string
	// Parameters is the JSON Schema of its arguments, as JSON text; empty: no arguments.
	Parameters string
	// Function gets the arguments as JSON text, just as the model wrote it.
	Function func(ctx context.Context, arguments string) (string, error)
}

func (t Tool) declaration() *dashgatev1.Tool {
	return &dashgatev1.Tool{Kind: &dashgatev1.Tool_Function{Function: &dashgatev1.FunctionTool{
		Name: t.Name, Description: t.Description, Parameters: t.Parameters,
	}}}
}

// RunTools converses, calls what the model asks for, and goes on until it asks for nothing more. All
// turns are appended to the conversation. An error of a function is given back as it is.
func (c *Client) RunTools(
	ctx context.Context, conversation *Conversation, tools []Tool, options ...CallOption,
) (*Answer, error) {
	rounds := maxRounds
	if asked := c.newCall(options).maxRounds; asked > 0 {
		rounds = asked
	}
	conversation.Declare(tools...)
	for round := 0; ; round++ {
		// Each question is a call of its own, with a name of its own.
		answer, err := c.Converse(ctx, conversation, append(options[:len(options):len(options)], WithRequestID(""))...)
		if err != nil {
			return nil, err
		}
		conversation.Append(answer)
		if len(answer.ToolCalls()) == 0 {
			return answer, nil
		}
		if round == rounds {
			return nil, roundsError(rounds)
		}
		for _, call := range answer.ToolCalls() {
			result, err := run(ctx, tools, call)
			if err != nil {
				return nil, err
			}
			conversation.ToolResult(call, result)
		}
	}
}

func run(ctx context.Context, tools []Tool, call *dashgatev1.ToolCall) (string, error) {
	for _, tool := range tools {
		if tool.Name == call.GetName() {
			return tool.Function(ctx, call.GetArguments())
		}
	}
	return unknownTool(call.GetName()), nil
}
