package dashgate

import (
	"bytes"
	"encoding/json"
	"fmt"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// FromMessages returns a conversation from a list of messages in the form of OpenAI's chat
// completions or of DashScope: a JSON text (string, []byte or json.RawMessage), or any value that is
// written as such a list. Paths and file: URIs are refused, because a list may come from somewhere
// else. The error names the place of what is unknown or wrong, such as messages[1].content[0].type.
func FromMessages(model string, messages any) (*Conversation, error) {
	text, err := jsonText(messages)
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("messages: must be a list of messages: %w", err)
	}
	conversation := NewConversation(model)
	for at, raw := range list {
		message, err := parseMessage(fmt.Sprintf("messages[%d]", at), raw)
		if err != nil {
			return nil, err
		}
		conversation.Raw.Messages = append(conversation.Raw.Messages, message)
	}
	return conversation, nil
}

// roles are the roles of both forms.
var roles = map[string]dashgatev1.Role{
	"system":    dashgatev1.Role_ROLE_SYSTEM,
	"developer": dashgatev1.Role_ROLE_SYSTEM,
	"user":      dashgatev1.Role_ROLE_USER,
	"assistant": dashgatev1.Role_ROLE_ASSISTANT,
	"tool":      dashgatev1.Role_ROLE_TOOL,
}

func jsonText(value any) ([]byte, error) {
	switch value := value.(type) {
	case string:
		return []byte(value), nil
	case []byte:
		return value, nil
	default:
		return json.Marshal(value)
	}
}

func parseMessage(place string, raw json.RawMessage) (*dashgatev1.Message, error) {
	fields, err := parseObject(place, raw)
	if err != nil {
		return nil, err
	}
	message := new(dashgatev1.Message)
	var role string
	for name, value := range fields {
		field := place + "." + name
		switch name {
		case "role":
			role, err = parseText(field, value)
		case "content":
			message.Content, err = parseContent(field, value)
		case "reasoning_content":
			message.ReasoningText, err = parseOptionalText(field, value)
		case "tool_calls":
			message.ToolCalls, err = parseToolCalls(field, value)
		case "tool_call_id":
			message.ToolCallId, err = parseOptionalText(field, value)
		default:
			err = fmt.Errorf("%s: is unknown", field)
		}
		if err != nil {
			return nil, err
		}
	}
	isKnown := false
	if message.Role, isKnown = roles[role]; !isKnown {
		return nil, fmt.Errorf("%s.role: must be system, developer, user, assistant or tool, and is %q", place, role)
	}
	return message, nil
}

// toolCallForm is a tool call in both forms.
type toolCallForm struct {
	Index    *int32 `json:"index"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

func parseToolCalls(place string, raw json.RawMessage) ([]*dashgatev1.ToolCall, error) {
	if isNull(raw) {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: must be a list", place)
	}
	var calls []*dashgatev1.ToolCall
	for at, raw := range list {
		form := toolCallForm{Type: "function"}
		if err := strictly(raw, &form); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", place, at, err)
		}
		if form.Function.Name == "" {
			return nil, fmt.Errorf("%s[%d].function.name: is missing", place, at)
		}
		if form.Type != "function" {
			return nil, fmt.Errorf("%s[%d].type: must be function, and is %q", place, at, form.Type)
		}
		index := int32(at)
		if form.Index != nil {
			index = *form.Index
		}
		calls = append(calls, &dashgatev1.ToolCall{
			Index: index, Id: form.ID, Type: form.Type,
			Name: form.Function.Name, Arguments: form.Function.Arguments,
		})
	}
	return calls, nil
}

// strictly reads a value and refuses unknown keys.
func strictly(raw json.RawMessage, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

func parseObject(place string, raw json.RawMessage) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, fmt.Errorf("%s: must be an object", place)
	}
	return fields, nil
}

func parseText(place string, raw json.RawMessage) (string, error) {
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("%s: must be a text", place)
	}
	return *text, nil
}

func parseOptionalText(place string, raw json.RawMessage) (string, error) {
	if isNull(raw) {
		return "", nil
	}
	return parseText(place, raw)
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }
