package dashgate

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// FromMessages returns a conversation from a list of messages in the form of OpenAI's chat
// completions or of DashScope: a JSON text (string, []byte or json.RawMessage), or any value that is
// written as such a list; nil is none. Paths and file: URIs are refused, because a list may come from
// somewhere else. The error names the place of what is unknown or wrong, such as
// messages[1].content[0].type, and quotes no value.
func FromMessages(model string, messages any) (*Conversation, error) {
	text, err := jsonText(messages)
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, fmt.Errorf("messages: must be a list: %w", jsonProblem(err))
	}
	list, err := parseList("messages", whole)
	if err != nil {
		return nil, err
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
	var text []byte
	switch value := value.(type) {
	case string:
		text = []byte(value)
	case []byte:
		text = value
	case json.RawMessage:
		text = value
	default:
		text, err := json.Marshal(value)
		var unknown *json.UnsupportedTypeError
		switch {
		case errors.As(err, &unknown):
			return nil, fmt.Errorf("a %v cannot be written as JSON", unknown.Type)
		case err != nil:
			return nil, errors.New("a value cannot be written as JSON")
		}
		return text, nil
	}
	if !utf8.Valid(text) {
		return nil, errors.New("must be UTF-8")
	}
	return text, nil
}

func parseMessage(place string, raw json.RawMessage) (*dashgatev1.Message, error) {
	fields, err := parseFields(place, raw)
	if err != nil {
		return nil, err
	}
	err = fields.only("role", "content", "reasoning_content", "tool_calls", "tool_call_id")
	if err != nil {
		return nil, err
	}
	role, err := fields.text("role")
	if err != nil {
		return nil, err
	}
	message, isKnown := new(dashgatev1.Message), false
	if message.Role, isKnown = roles[role]; !isKnown {
		return nil, fmt.Errorf("%s.role: must be system, developer, user, assistant or tool", place)
	}
	if message.ReasoningText, err = fields.text("reasoning_content"); err != nil {
		return nil, err
	}
	if message.ToolCallId, err = fields.text("tool_call_id"); err != nil {
		return nil, err
	}
	if content, isThere := fields.values["content"]; isThere {
		if message.Content, err = parseContent(fields.at("content"), content); err != nil {
			return nil, err
		}
	}
	if calls, isThere := fields.values["tool_calls"]; isThere {
		if message.ToolCalls, err = parseToolCalls(fields.at("tool_calls"), calls); err != nil {
			return nil, err
		}
	}
	return message, nil
}

func parseToolCalls(place string, raw json.RawMessage) ([]*dashgatev1.ToolCall, error) {
	list, err := parseList(place, raw)
	if err != nil {
		return nil, err
	}
	var calls []*dashgatev1.ToolCall
	for at, raw := range list {
		call, err := parseToolCall(fmt.Sprintf("%s[%d]", place, at), raw)
		if err != nil {
			return nil, err
		}
		if call.Index < 0 {
			call.Index = int32(at)
		}
		calls = append(calls, call)
	}
	return calls, nil
}

// parseToolCall reads a tool call of both forms. Without an index, it has a negative one.
func parseToolCall(place string, raw json.RawMessage) (*dashgatev1.ToolCall, error) {
	fields, err := parseFields(place, raw)
	if err == nil {
		err = fields.only("index", "id", "type", "function")
	}
	if err != nil {
		return nil, err
	}
	const kind = "function"
	call := &dashgatev1.ToolCall{Index: -1, Type: kind}
	if index, isThere := fields.values["index"]; isThere {
		if err := json.Unmarshal(index, &call.Index); err != nil || call.Index < 0 {
			return nil, fmt.Errorf("%s: must be an integer of 0 or more", fields.at("index"))
		}
	}
	if given, err := fields.text("type"); err != nil {
		return nil, err
	} else if given != "" && given != kind {
		return nil, fmt.Errorf("%s: must be %s", fields.at("type"), kind)
	}
	if call.Id, err = fields.text("id"); err != nil {
		return nil, err
	}
	function, err := fields.object(kind, "name", "arguments")
	if err != nil {
		return nil, err
	}
	if call.Name, err = function.text("name"); err != nil {
		return nil, err
	}
	if call.Name == "" {
		return nil, fmt.Errorf("%s: is missing", function.at("name"))
	}
	call.Arguments, err = function.text("arguments")
	return call, err
}
