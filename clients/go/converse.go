package dashgate

import (
	"context"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Converse returns the next answer when complete. The error is an *Error if the call failed. The
// default deadline is 10 minutes. Large files of the conversation are uploaded before, within the
// deadline; the error may be that of reading one.
func (c *Client) Converse(
	ctx context.Context, conversation *Conversation, options ...CallOption,
) (*Answer, error) {
	call := c.newCall(options)
	if refused := call.refuseConversation(ctx, conversation); refused != nil {
		return nil, refused
	}
	ctx, record := c.log.begin(ctx, "Converse", call.requestID)
	answer, err := c.converse(ctx, conversation, &call, record)
	record.end(err)
	return answer, err
}

func (c *Client) converse(
	ctx context.Context, conversation *Conversation, call *call, record *callRecord,
) (*Answer, error) {
	ctx, cancel := withTimeout(ctx, call.timeout, c.settings.timeout, unaryTimeout)
	defer cancel()
	message, err := c.uploaded(ctx, conversation.Raw, call)
	if err != nil {
		return nil, err
	}
	request := &dashgatev1.ConverseRequest{
		Conversation: message, Options: call.options, RequestId: call.requestID,
		ExpectedTurn: conversation.expectedTurn(call), History: call.history,
	}
	ctx = c.Outgoing(ctx, call.metadata)
	throttling := c.newThrottling(call)
	for retry := 1; ; retry++ {
		response, headers, failed := unary(ctx, c.Conversations().Converse, request, call.requestID)
		if failed == nil {
			return &Answer{Raw: response, Headers: headers}, nil
		}
		delay, again := throttling.next(ctx, failed)
		if !again {
			return nil, failed
		}
		record.again("retry", retry, delay, failed)
		if err := sleep(ctx, delay); err != nil {
			return nil, contextError(ctx, call.requestID)
		}
	}
}
