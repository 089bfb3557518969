package dashgate

import (
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Conversation is a conversation: the model, the messages and the tools. The gateway stores no
// conversations: each call sends all of it. Methods modify the conversation and return it, for
// chaining.
type Conversation struct {
	// Raw is the message that is sent. May be modified.
	Raw *dashgatev1.Conversation
}

// NewConversation returns an empty conversation with a model.
func NewConversation(model string) *Conversation {
	return &Conversation{Raw: &dashgatev1.Conversation{Model: model}}
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

// Append appends an answer of the model.
func (c *Conversation) Append(answer *Answer) *Conversation {
	if message := answer.Message(); message != nil {
		c.Raw.Messages = append(c.Raw.Messages, message)
	}
	return c
}

// ToolResult appends the result of a tool call.
func (c *Conversation) ToolResult(call *dashgatev1.ToolCall, result string) *Conversation {
	c.Raw.Messages = append(c.Raw.Messages, &dashgatev1.Message{
		Role:       dashgatev1.Role_ROLE_TOOL,
		ToolCallId: call.GetId(),
		Content:    []*dashgatev1.Content{Text(result)},
	})
	return c
}

// Declare declares tools that the model may call. A declared tool of the same name is replaced.
func (c *Conversation) Declare(tools ...Tool) *Conversation {
next:
	for _, tool := range tools {
		declaration := tool.declaration()
		for at, old := range c.Raw.GetTools() {
			if old.GetFunction() != nil && old.GetFunction().GetName() == tool.Name {
				c.Raw.Tools[at] = declaration
				continue next
			}
		}
		c.Raw.Tools = append(c.Raw.Tools, declaration)
	}
	return c
}

// ChooseTools sets whether the model must, may or must not call tools.
func (c *Conversation) ChooseTools(mode dashgatev1.ToolChoiceMode) *Conversation {
	c.Raw.ToolChoice = &dashgatev1.ToolChoice{Kind: &dashgatev1.ToolChoice_Mode{Mode: mode}}
	return c
}

// ChooseTool requires the model to call this tool.
func (c *Conversation) ChooseTool(name string) *Conversation {
	c.Raw.ToolChoice = &dashgatev1.ToolChoice{Kind: &dashgatev1.ToolChoice_FunctionName{FunctionName: name}}
	return c
}

func (c *Conversation) add(role dashgatev1.Role, content ...*dashgatev1.Content) *Conversation {
	c.Raw.Messages = append(c.Raw.Messages, &dashgatev1.Message{Role: role, Content: content})
	return c
}
