package dashgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

func (c *Client) newCall(options []CallOption) call {
	call := call{nilOption: firstNil(options)}
	for _, option := range options {
		if option != nil {
			option.applyToCall(&call)
		}
	}
	for name, value := range call.metadata {
		if call.requestID == "" && strings.EqualFold(name, requestIDKey) {
			call.requestID = value
		}
	}
	call.isNamed = call.requestID != ""
	if !call.isNamed {
		call.requestID = newUUID()
	}
	return call
}

// requestIDKey is the metadata with the request id.
const requestIDKey = "x-request-id"

// withRequestID returns the metadata of a call whose request has no field for the request id.
func (c *call) withRequestID() map[string]string {
	values := map[string]string{requestIDKey: c.requestID}
	maps.Copy(values, withoutRequestID(c.metadata))
	return values
}

// withoutRequestID returns the metadata for a call that has another request id.
func withoutRequestID(values map[string]string) map[string]string {
	values = maps.Clone(values)
	maps.DeleteFunc(values, func(name, _ string) bool { return strings.EqualFold(name, requestIDKey) })
	return values
}

// unary makes an attempt of a unary call, with gRPC's retries.
func unary[Request, Response proto.Message](
	ctx context.Context,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
	request Request, requestID string, options ...grpc.CallOption,
) (Response, map[string]string, *Error) {
	var metadata responseMetadata
	response, err := method(ctx, request, append(metadata.options(), options...)...)
	if err != nil {
		return response, nil, newError(ctx, err, metadata, requestID)
	}
	return response, metadata.texts(), nil
}

// manage makes a unary call whose request has no field for the request id.
func manage[Request, Response proto.Message](
	ctx context.Context, c *Client, name string,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
	request Request, options []CallOption, more ...grpc.CallOption,
) (Response, error) {
	call := c.newCall(options)
	if refused := call.refuse(ctx); refused != nil {
		var none Response
		return none, refused
	}
	ctx, cancel := withTimeout(ctx, call.timeout, c.settings.timeout, unaryTimeout)
	defer cancel()
	ctx, record := c.log.begin(c.Outgoing(ctx, call.withRequestID()), name, call.requestID)
	response, _, failed := unary(ctx, method, request, call.requestID, more...)
	if failed != nil {
		record.end(failed)
		return response, failed
	}
	record.end(nil)
	return response, nil
}

// withTimeout sets a deadline: the call's, else the context's, else the client's, else the default;
// 0 means none.
func withTimeout(
	ctx context.Context, own, client, fallback time.Duration,
) (context.Context, context.CancelFunc) {
	limit := own
	if _, there := ctx.Deadline(); limit == 0 && !there {
		if limit = client; limit == 0 {
			limit = fallback
		}
	}
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// newUUID returns a random UUID.
func newUUID() string {
	var id [16]byte
	// rand.Read never returns an error.
	_, _ = rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
