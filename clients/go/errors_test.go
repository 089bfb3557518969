package dashgate

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func TestRetryable(t *testing.T) {
	delay := &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)}
	gateway := &errdetails.ErrorInfo{Reason: "UPSTREAM_TLS"}
	for name, one := range map[string]struct {
		code     codes.Code
		pushback []string
		details  []proto.Message
		want     bool
	}{
		"not reached":            {codes.Unavailable, nil, nil, true},
		"a reason":               {codes.Unavailable, nil, []proto.Message{gateway}, false},
		"a reason and a time":    {codes.Unavailable, nil, []proto.Message{gateway, delay}, true},
		"throttled":              {codes.ResourceExhausted, nil, []proto.Message{delay}, true},
		"a quota":                {codes.ResourceExhausted, nil, nil, false},
		"a pushback":             {codes.Internal, []string{"20"}, nil, true},
		"a negative pushback":    {codes.Unavailable, []string{"-1"}, nil, false},
		"an unreadable pushback": {codes.Unavailable, []string{"soon"}, nil, false},
		"another code":           {codes.Internal, nil, nil, false},
	} {
		raw := status.New(one.code, "it failed")
		for _, detail := range one.details {
			var err error
			if raw, err = raw.WithDetails(detail.(interface {
				Reset()
				String() string
				ProtoMessage()
			})); err != nil {
				t.Fatal(err)
			}
		}
		response := responseMetadata{trailer: grpcmetadata.MD{"grpc-retry-pushback-ms": one.pushback}}
		failed := newError(t.Context(), raw.Err(), response, "r")
		equal(t, name, failed.Retryable, one.want)
	}
}

func TestClosedPortIsRetryable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	// Its retries take seconds.
	client, err := New(address, WithDialOptions(grpc.WithDisableRetry()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Converse(t.Context(), ask())
	failed := failure(t, err)
	_, isKnown := failed.RetryAfter()
	equal(t, "retryable without a time", []bool{failed.Retryable, isKnown}, []bool{true, false})
	equal(t, "code", failed.Code, codes.Unavailable)
}

func TestDeadlineHasItsReason(t *testing.T) {
	played := play(t)
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	played.events, played.silent = played.events[:1], true
	client := played.client(t)
	_, unary := client.Converse(t.Context(), ask(), WithTimeout(30*time.Millisecond))
	_, streamed := client.Stream(t.Context(), ask(), WithTimeout(30*time.Millisecond)).Final()
	for name, err := range map[string]error{"unary": unary, "stream": streamed} {
		failed := failure(t, err)
		equal(t, name, failed.Reason, dashgatev1.ErrorReason_DEADLINE_EXCEEDED)
		equal(t, name, failed.RawReason, "DEADLINE_EXCEEDED")
		if failed.Retryable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %+v", name, failed)
		}
	}
}

func TestErrorHasEachPartOnce(t *testing.T) {
	played := play(t)
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		return nil, refuse(ctx, codes.InvalidArgument, "-1",
			&errdetails.ErrorInfo{Reason: "INVALID_REQUEST"},
			&dashgatev1.CallFailure{Reason: dashgatev1.ErrorReason_INVALID_REQUEST},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "a.b", Description: "is wrong"},
			}})
	}
	_, err := played.client(t).Converse(t.Context(), ask(), WithRequestID("r-1"))
	equal(t, "text", err.Error(), "InvalidArgument INVALID_REQUEST: it failed (request id r-1)")
	written, err := json.Marshal(failure(t, err))
	if err != nil {
		t.Fatal(err)
	}
	var form map[string]any
	if err := json.Unmarshal(written, &form); err != nil {
		t.Fatal(err)
	}
	delete(form, "headers")
	equal(t, "JSON", form, map[string]any{
		"code": "INVALID_ARGUMENT", "reason": "INVALID_REQUEST", "rawReason": "INVALID_REQUEST", "message": "it failed", "requestId": "r-1",
		"retryable": false, "outputStarted": false,
		"fieldViolations": []any{map[string]any{"field": "a.b", "description": "is wrong"}},
	})
}

func TestJSONOfErrorHasTimeAndUsage(t *testing.T) {
	after := 1500 * time.Millisecond
	failed := &Error{retryAfter: &after, Usage: &dashgatev1.Usage{OutputTokens: proto.Int32(7)}}
	written, err := json.Marshal(failed)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"retryAfterMs":1500`, `"usage":{"outputTokens":7}`} {
		if !strings.Contains(string(written), part) {
			t.Errorf("%s is not in %s", part, written)
		}
	}
}

func TestTheTextHasTheRequestIDOnce(t *testing.T) {
	for _, one := range []struct{ message, id string }{
		{"context deadline exceeded", "x"},
		{"context deadline exceeded", "e"},
		{"a MIME type, e.g. audio/wav", "e"},
		{"it isn't there: 127.0.0.1:5", "t"},
		{"it isn't there: 127.0.0.1:5", "5"},
	} {
		text := (&Error{Code: codes.DeadlineExceeded, Message: one.message, RequestID: one.id}).Error()
		equal(t, "text", text, "DeadlineExceeded: "+one.message+" (request id "+one.id+")")
	}
	for _, message := range []string{
		"call r-1 failed", "r-1: it failed", "it failed (request id r-1)", "the call is r-1.", `no call "r-1"`, "r-1",
	} {
		text := (&Error{Code: codes.Internal, Message: message, RequestID: "r-1"}).Error()
		equal(t, "text", text, "Internal: "+message)
	}
}
