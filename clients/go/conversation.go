package dashgate

import (
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Conversation is a conversation: the model, the messages and the tools. Each call sends all of it
// or, if it has a name, only the new messages: the gateway then stores its turns. Methods modify the
// conversation and return it, for chaining.
type Conversation struct {
	// Raw is the message that is sent. May be modified. Of a stored conversation, its last_turn is the
	// latest turn that is known.
	Raw *dashgatev1.Conversation
}

// NewConversation returns an empty conversation with a model.
func NewConversation(model string) *Conversation {
	return &Conversation{Raw: &dashgatev1.Conversation{Model: model}}
}

// Copy returns an independent copy, for example to keep the state before a call.
func (c *Conversation) Copy() *Conversation {
	return &Conversation{Raw: proto.CloneOf(c.Raw)}
}

// Named makes it a stored conversation, conversations/{id}, of which only new messages are sent. Its
// model may be empty: then it is that of the stored conversation.
func (c *Conversation) Named(name string) *Conversation {
	c.message().Name = name
	return c
}

// System appends a system message, which must be the first: instructions for the whole
// conversation.
func (c *Conversation) System(instructions string) *Conversation {
	return c.add(dashgatev1.Role_ROLE_SYSTEM, Text(instructions))
}

// User appends a user message.
func (c *Conversation) User(content ...*dashgatev1.Content) *Conversation {
	return c.add(dashgatev1.Role_ROLE_USER, content...)
}

// Assistant appends an assistant message, for example as a sample.
func (c *Conversation) Assistant(content ...*dashgatev1.Content) *Conversation {
	return c.add(dashgatev1.Role_ROLE_ASSISTANT, content...)
}

// Append appends an answer of the model. The gateway has stored that of a stored conversation: the
// messages are removed, and the next call expects the turn of this one to be the latest. With nil, the
// next call fails.
func (c *Conversation) Append(answer *Answer) *Conversation {
	if answer == nil {
		raw := c.message()
		raw.Messages = append(raw.Messages, nil)
		return c
	}
	if c.Raw.GetName() != "" {
		// An answer without it is incomplete: nothing was stored, and the messages are sent again.
		if used := answer.Raw.GetHistoryUsed(); used != nil {
			c.Raw.Messages = nil
			c.Raw.LastTurn = used.GetTurn()
		}
		return c
	}
	if message := answer.Message(); message != nil {
		raw := c.message()
		raw.Messages = append(raw.Messages, message)
	}
	return c
}

// LastTurn returns the latest turn of a stored conversation that is known; 0 is none.
func (c *Conversation) LastTurn() int32 { return c.Raw.GetLastTurn() }

// ToolResult appends the result of a tool call.
func (c *Conversation) ToolResult(call *dashgatev1.ToolCall, result string) *Conversation {
	raw := c.message()
	raw.Messages = append(raw.Messages, &dashgatev1.Message{
		Role:       dashgatev1.Role_ROLE_TOOL,
		ToolCallId: call.GetId(),
		Content:    []*dashgatev1.Content{Text(result)},
	})
	return c
}

// Declare declares tools that the model may call. A declared tool of the same name is replaced.
func (c *Conversation) Declare(tools ...Tool) *Conversation {
	raw := c.message()
next:
	for _, tool := range tools {
		declaration := tool.declaration()
		for at, old := range raw.GetTools() {
			if old.GetFunction() != nil && old.GetFunction().GetName() == tool.Name {
				raw.Tools[at] = declaration
				continue next
			}
		}
		raw.Tools = append(raw.Tools, declaration)
	}
	return c
}

// ChooseTools sets whether the model must, may or must not call tools.
func (c *Conversation) ChooseTools(mode dashgatev1.ToolChoiceMode) *Conversation {
	c.message().ToolChoice = &dashgatev1.ToolChoice{Kind: &dashgatev1.ToolChoice_Mode{Mode: mode}}
	return c
}

// ChooseTool requires the model to call this tool.
func (c *Conversation) ChooseTool(name string) *Conversation {
	c.message().ToolChoice = &dashgatev1.ToolChoice{Kind: &dashgatev1.ToolChoice_FunctionName{FunctionName: name}}
	return c
}

// expectedTurn returns the latest turn that is known, if there is one.
func (c *Conversation) expectedTurn(call *call) *int32 {
	turn := c.LastTurn()
	if call.expectedTurn != nil || c.Raw.GetName() == "" || turn == 0 {
		return call.expectedTurn
	}
	return &turn
}

func (c *Conversation) add(role dashgatev1.Role, content ...*dashgatev1.Content) *Conversation {
	raw := c.message()
	raw.Messages = append(raw.Messages, &dashgatev1.Message{Role: role, Content: content})
	return c
}

// message returns the message, which a zero value does not have yet.
func (c *Conversation) message() *dashgatev1.Conversation {
	if c.Raw == nil {
		c.Raw = new(dashgatev1.Conversation)
	}
	return c.Raw
}
