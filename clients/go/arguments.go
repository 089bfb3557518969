package dashgate

import (
	"context"
	"fmt"
	"reflect"

	"google.golang.org/grpc/codes"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// nilArgument returns the error of an argument that is nil.
func nilArgument(argument, requestID string) *Error {
	return ownError(codes.InvalidArgument, "INVALID_REQUEST", requestID, "%s is nil", argument)
}

// isNil is whether a value is nil, or a nil pointer such as the *os.File of a failed os.Open.
func isNil(value any) bool {
	if value == nil {
		return true
	}
	of := reflect.ValueOf(value)
	return of.Kind() == reflect.Pointer && of.IsNil()
}

// firstNil returns the place of the first option that is nil.
func firstNil[Option any](options []Option) string {
	for at, option := range options {
		if any(option) == nil {
			return fmt.Sprintf("options[%d]", at)
		}
	}
	return ""
}

// refuse returns the error of a call without a context or an option, or nil.
func (c *call) refuse(ctx context.Context) *Error {
	switch {
	case ctx == nil:
		return nilArgument("ctx", c.requestID)
	case c.nilOption != "":
		return nilArgument(c.nilOption, c.requestID)
	default:
		return nil
	}
}

// refuseConversation is refuse, also for a conversation that is nil or has parts that are.
func (c *call) refuseConversation(ctx context.Context, conversation *Conversation) *Error {
	if refused := c.refuse(ctx); refused != nil {
		return refused
	}
	if conversation == nil {
		return nilArgument("conversation", c.requestID)
	}
	if place := nilPart(conversation.Raw); place != "" {
		return nilArgument(place, c.requestID)
	}
	return nil
}

// nilPart returns the place of the first part of a conversation that is nil, such as that of a file
// that could not be read.
func nilPart(conversation *dashgatev1.Conversation) string {
	for i, message := range conversation.GetMessages() {
		if message == nil {
			return fmt.Sprintf("conversation.messages[%d]", i)
		}
		for j, part := range message.GetContent() {
			place := fmt.Sprintf("conversation.messages[%d].content[%d]", i, j)
			if part == nil {
				return place
			}
			for k, frame := range part.GetVideo().GetFrames().GetFrames() {
				if frame == nil {
					return fmt.Sprintf("%s.video.frames.frames[%d]", place, k)
				}
			}
		}
	}
	return ""
}

// nilFunction returns the place of the first tool without a function.
func nilFunction(tools []Tool) string {
	for at, tool := range tools {
		if tool.Function == nil {
			return fmt.Sprintf("tools[%d].Function", at)
		}
	}
	return ""
}
