package dashgate

import (
	"context"
	"iter"

	"google.golang.org/grpc"
	grpcmetadata "google.golang.org/grpc/metadata"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// ListModels returns the models that can be used, in the order of their names. A page is fetched
// when its first model is needed; WithTimeout applies to each page, and the default is 10 minutes.
// The error is an *Error if a call failed, and ends the iteration.
func (c *Client) ListModels(ctx context.Context, options ...CallOption) iter.Seq2[*dashgatev1.Model, error] {
	return func(yield func(*dashgatev1.Model, error) bool) {
		token := ""
		for {
			page, err := c.modelPage(ctx, token, options)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, model := range page.GetModels() {
				if !yield(model, nil) {
					return
				}
			}
			if token = page.GetNextPageToken(); token == "" {
				return
			}
		}
	}
}

// GetModel returns what the gateway knows of a model. The error is an *Error if the call failed.
// The default deadline is 10 minutes.
func (c *Client) GetModel(ctx context.Context, name string, options ...CallOption) (*dashgatev1.Model, error) {
	call := c.newCall(options)
	ctx, cancel := withTimeout(ctx, call.timeout, c.settings.timeout, unaryTimeout)
	defer cancel()
	var trailers grpcmetadata.MD
	request := &dashgatev1.GetModelRequest{Name: name}
	response, err := c.Models().GetModel(c.Outgoing(ctx, call.named()), request, grpc.Trailer(&trailers))
	if err != nil {
		return nil, newError(ctx, err, trailers, call.requestID)
	}
	return response.GetModel(), nil
}

func (c *Client) modelPage(
	ctx context.Context, token string, options []CallOption,
) (*dashgatev1.ListModelsResponse, error) {
	call := c.newCall(options)
	ctx, cancel := withTimeout(ctx, call.timeout, c.settings.timeout, unaryTimeout)
	defer cancel()
	var trailers grpcmetadata.MD
	request := &dashgatev1.ListModelsRequest{PageSize: call.pageSize, PageToken: token}
	page, err := c.Models().ListModels(c.Outgoing(ctx, call.named()), request, grpc.Trailer(&trailers))
	if err != nil {
		return nil, newError(ctx, err, trailers, call.requestID)
	}
	return page, nil
}

// named returns the metadata of a call whose request has no field for the request id.
func (c *call) named() map[string]string {
	values := map[string]string{"x-request-id": c.requestID}
	for name, value := range c.metadata {
		values[name] = value
	}
	return values
}
