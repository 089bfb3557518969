package dashgate

import (
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Conversation is what was said so far, to which model, and with which tools. The gateway keeps
// nothing: each call sends the whole of it. Its methods change it and give it back, so that they can
// be chained.
type Conversation struct {
	// Raw is the message that is sent. It may be changed as one likes.
	Raw *dashgatev1.Conversation
}

// NewConversation begins a conversation with a model.
func NewConversation(model string) *Conversation {
	return &Conversation{Raw: &dashgatev1.Conversation{Model: model}}
}

// System appends instructions for the whole conversation; it is called first.
func (c *Conversation) System(instructions string) *Conversation {
	return c.add(dashgatev1.Role_ROLE_SYSTEM, Text(instructions))
}

// User appends what the person says.
func (c *Conversation) User(content ...*dashgatev1.Content) *Conversation {
	return c.add(dashgatev1.Role_ROLE_USER, content...)
}

// Assistant appends what the model is meant to have said.
func (c *Conversation) Assistant(content ...*dashgatev1.Content) *Conversation {
	return c.add(dashgatev1.Role_ROLE_ASSISTANT, content...)
}

// Append appends the model's answer.
func (c *Conversation) Append(answer *Answer) *Conversation {
	if message := answer.Message(); message != nil {
		c.Raw.Messages = append(c.Raw.Messages, message)
	}
	return c
}

// ToolResult appends what a tool gave for a call.
func (c *Conversation) ToolResult(call *dashgatev1.ToolCall, result string) *Conversation {
	c.Raw.Messages = append(c.Raw.Messages, &dashgatev1.Message{
		Role:       dashgatev1.Role_ROLE_TOOL,
		ToolCallId: call.GetId(),
		Content:    []*dashgatev1.Content{Text(result)},
	})
	return c
}

// Declare says which tools the model may call. One that is there by that name is replaced.
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

// ChooseTools says whether the model must, may or must not call tools.
func (c *Conversation) ChooseTools(mode dashgatev1.ToolChoiceMode) *Conversation {
	c.Raw.ToolChoice = &dashgatev1.ToolChoice{Kind: &dashgatev1.ToolChoice_Mode{Mode: mode}}
	return c
}

// ChooseTool says that the model must call this one.
func (c *Conversation) ChooseTool(name string) *Conversation {
	c.Raw.ToolChoice = &dashgatev1.ToolChoice{Kind: &dashgatev1.ToolChoice_FunctionName{FunctionName: name}}
	return c
}

func (c *Conversation) add(role dashgatev1.Role, content ...*dashgatev1.Content) *Conversation {
	c.Raw.Messages = append(c.Raw.Messages, &dashgatev1.Message{Role: role, Content: content})
	return c
}
