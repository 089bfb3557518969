package dashgate

import (
	"context"
	"iter"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// ListModels returns the models that can be used, in the order of their names. A page is fetched
// when its first model is needed; WithTimeout applies to each page, and the default is 10 minutes.
// The error is an *Error if a call failed, and ends the iteration.
func (c *Client) ListModels(ctx context.Context, options ...CallOption) iter.Seq2[*dashgatev1.Model, error] {
	size := c.newCall(options).pageSize
	return pages(func(token string) ([]*dashgatev1.Model, string, error) {
		request := &dashgatev1.ListModelsRequest{PageSize: size, PageToken: token}
		page, err := manage(ctx, c, "ListModels", c.Models().ListModels, request, options)
		return page.GetModels(), page.GetNextPageToken(), err
	})
}

// GetModel returns what the gateway knows of a model. The error is an *Error if the call failed.
// The default deadline is 10 minutes.
func (c *Client) GetModel(ctx context.Context, name string, options ...CallOption) (*dashgatev1.Model, error) {
	request := &dashgatev1.GetModelRequest{Name: name}
	response, err := manage(ctx, c, "GetModel", c.Models().GetModel, request, options)
	return response.GetModel(), err
}

// pages iterates over the items of a list. A page is fetched when its first item is needed.
func pages[Item any](fetch func(token string) ([]Item, string, error)) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		token := ""
		for {
			page, next, err := fetch(token)
			if err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range page {
				if !yield(item, nil) {
					return
				}
			}
			if token = next; token == "" {
				return
			}
		}
	}
}
