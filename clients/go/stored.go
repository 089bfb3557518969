package dashgate

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// storedSettings are those of a stored conversation, as far as they are given.
type storedSettings struct {
	model  *string
	labels map[string]string
	ttl    *time.Duration
}

// WithModel sets the model of a stored conversation.
func WithModel(model string) CallOption {
	return callOption(func(c *call) { c.stored.model = &model })
}

// WithLabels sets the labels of a stored conversation. An update replaces all of them.
func WithLabels(labels map[string]string) CallOption {
	if labels == nil {
		labels = map[string]string{}
	}
	return callOption(func(c *call) { c.stored.labels = labels })
}

// WithTTL sets how long a stored conversation is kept after its latest turn or update. 0 is the
// gateway's default.
func WithTTL(ttl time.Duration) CallOption {
	return callOption(func(c *call) { c.stored.ttl = &ttl })
}

// WithNewestFirst sets whether ListTurns begins with the latest turn. Default: false.
func WithNewestFirst(enabled bool) CallOption {
	return callOption(func(c *call) { c.newestFirst = enabled })
}

// WithIncludeMedia sets whether ListTurns returns the bytes of media. Default: false.
func WithIncludeMedia(enabled bool) CallOption {
	return callOption(func(c *call) { c.includeMedia = enabled })
}

// WithLastTurn sets the last turn that ForkConversation copies. Default: all turns.
func WithLastTurn(turn int32) CallOption {
	return callOption(func(c *call) { c.lastTurn = &turn })
}

// CreateConversation creates a stored conversation without turns. The id is the part of its name
// after conversations/; if it is empty, the gateway generates one, and the call is not retried.
// WithModel, WithLabels and WithTTL apply.
func (c *Client) CreateConversation(
	ctx context.Context, id string, options ...CallOption,
) (*dashgatev1.Conversation, error) {
	conversation, _ := c.newCall(options).stored.message()
	request := &dashgatev1.CreateConversationRequest{ConversationId: id, Conversation: conversation}
	response, err := manage(ctx, c, "CreateConversation", c.Conversations().CreateConversation, request, options, retries(id)...)
	return response.GetConversation(), err
}

// GetConversation returns a stored conversation without its turns.
func (c *Client) GetConversation(
	ctx context.Context, name string, options ...CallOption,
) (*dashgatev1.Conversation, error) {
	request := &dashgatev1.GetConversationRequest{Name: name}
	response, err := manage(ctx, c, "GetConversation", c.Conversations().GetConversation, request, options)
	return response.GetConversation(), err
}

// ListConversations returns the stored conversations of this caller, the latest update first.
// Pages, WithPageSize and errors are as in ListModels.
func (c *Client) ListConversations(
	ctx context.Context, options ...CallOption,
) iter.Seq2[*dashgatev1.Conversation, error] {
	size := c.newCall(options).pageSize
	return pages(func(token string) ([]*dashgatev1.Conversation, string, error) {
		request := &dashgatev1.ListConversationsRequest{PageSize: size, PageToken: token}
		page, err := manage(ctx, c, "ListConversations", c.Conversations().ListConversations, request, options)
		return page.GetConversations(), page.GetNextPageToken(), err
	})
}

// UpdateConversation changes what is given of WithModel, WithLabels and WithTTL.
func (c *Client) UpdateConversation(
	ctx context.Context, name string, options ...CallOption,
) (*dashgatev1.Conversation, error) {
	conversation, mask := c.newCall(options).stored.message()
	conversation.Name = name
	request := &dashgatev1.UpdateConversationRequest{Conversation: conversation, UpdateMask: mask}
	response, err := manage(ctx, c, "UpdateConversation", c.Conversations().UpdateConversation, request, options)
	return response.GetConversation(), err
}

// DeleteConversation deletes a stored conversation with its turns.
func (c *Client) DeleteConversation(ctx context.Context, name string, options ...CallOption) error {
	request := &dashgatev1.DeleteConversationRequest{Name: name}
	_, err := manage(ctx, c, "DeleteConversation", c.Conversations().DeleteConversation, request, options)
	return err
}

// ListTurns returns the turns of a stored conversation in the order of their numbers, also those
// that failed or are running. WithNewestFirst and WithIncludeMedia apply; pages, WithPageSize and
// errors are as in ListModels.
func (c *Client) ListTurns(
	ctx context.Context, name string, options ...CallOption,
) iter.Seq2[*dashgatev1.Turn, error] {
	call := c.newCall(options)
	return pages(func(token string) ([]*dashgatev1.Turn, string, error) {
		request := &dashgatev1.ListTurnsRequest{
			Name: name, PageSize: call.pageSize, PageToken: token,
			IncludeMedia: call.includeMedia, NewestFirst: call.newestFirst,
		}
		page, err := manage(ctx, c, "ListTurns", c.Conversations().ListTurns, request, options)
		return page.GetTurns(), page.GetNextPageToken(), err
	})
}

// DeleteTurn deletes a turn by its name, conversations/{id}/turns/{number}.
func (c *Client) DeleteTurn(ctx context.Context, name string, options ...CallOption) error {
	request := &dashgatev1.DeleteTurnRequest{Name: name}
	_, err := manage(ctx, c, "DeleteTurn", c.Conversations().DeleteTurn, request, options)
	return err
}

// ForkConversation creates a stored conversation with the history of another one, up to the turn of
// WithLastTurn. The id is that of the new one, as in CreateConversation.
func (c *Client) ForkConversation(
	ctx context.Context, name, id string, options ...CallOption,
) (*dashgatev1.Conversation, error) {
	request := &dashgatev1.ForkConversationRequest{
		Name: name, ConversationId: id, LastTurn: c.newCall(options).lastTurn,
	}
	response, err := manage(ctx, c, "ForkConversation", c.Conversations().ForkConversation, request, options, retries(id)...)
	return response.GetConversation(), err
}

// CancelTurn cancels the running turn of a stored conversation, if it has this request id or the
// request id is empty. The response has the request id of the turn; it is empty if none was running.
func (c *Client) CancelTurn(
	ctx context.Context, name, requestID string, options ...CallOption,
) (*dashgatev1.CancelTurnResponse, error) {
	request := &dashgatev1.CancelTurnRequest{Name: name, RequestId: requestID}
	return manage(ctx, c, "CancelTurn", c.Conversations().CancelTurn, request, options)
}

// message returns the settings as a message, and the mask of those that are given.
func (s storedSettings) message() (*dashgatev1.Conversation, *fieldmaskpb.FieldMask) {
	conversation, mask := new(dashgatev1.Conversation), new(fieldmaskpb.FieldMask)
	if s.model != nil {
		conversation.Model = *s.model
		mask.Paths = append(mask.Paths, "model")
	}
	if s.labels != nil {
		conversation.Labels = s.labels
		mask.Paths = append(mask.Paths, "labels")
	}
	if s.ttl != nil {
		if *s.ttl != 0 {
			conversation.Ttl = durationpb.New(*s.ttl)
		}
		mask.Paths = append(mask.Paths, "ttl")
	}
	return conversation, mask
}

// retries are the options of a call that creates a conversation. Without an id, a second attempt
// would create another one. gRPC repeats no call whose request it does not keep.
func retries(id string) []grpc.CallOption {
	if id != "" {
		return nil
	}
	return []grpc.CallOption{grpc.MaxRetryRPCBufferSize(0)}
}
