package recipes

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// limit is longer than any step takes on a busy machine.
const limit = 20 * time.Second

// gateway is a scripted gateway.
type gateway struct {
	dashgatev1.UnimplementedConversationServiceServer

	address string
	// converse is how a call ends.
	converse func() error
	// streams are the answers of streams, one after the other. After the last, streams do not end.
	streams [][]*dashgatev1.Delta
	left    chan struct{}

	lock sync.Mutex
	// running is how many calls are, most how many were at once.
	running  int
	most     int
	metadata metadata.MD
}

func serve(t *testing.T) *gateway {
	t.Helper()
	t.Setenv("DASHGATE_API_KEY", "")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	played := &gateway{
		address: listener.Addr().String(), left: make(chan struct{}, 10),
		converse: func() error { return nil },
	}
	server := grpc.NewServer()
	dashgatev1.RegisterConversationServiceServer(server, played)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return played
}

func (g *gateway) client(t *testing.T) *dashgate.Client {
	t.Helper()
	client, err := dashgate.New(g.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (g *gateway) Converse(
	ctx context.Context, request *dashgatev1.ConverseRequest,
) (*dashgatev1.ConverseResponse, error) {
	g.lock.Lock()
	g.running++
	g.most = max(g.most, g.running)
	g.metadata, _ = metadata.FromIncomingContext(ctx)
	g.lock.Unlock()
	defer func() {
		g.lock.Lock()
		defer g.lock.Unlock()
		g.running--
	}()
	if err := g.converse(); err != nil {
		return nil, err
	}
	message := &dashgatev1.Message{Content: []*dashgatev1.Content{dashgate.Text("hello")}}
	return &dashgatev1.ConverseResponse{
		Choices: []*dashgatev1.Choice{{Message: message}}, RequestId: request.GetRequestId(),
	}, nil
}

func (g *gateway) ConverseStream(
	_ *dashgatev1.ConverseStreamRequest,
	stream grpc.ServerStreamingServer[dashgatev1.ConverseStreamResponse],
) error {
	g.lock.Lock()
	var answer []*dashgatev1.Delta
	isLast := len(g.streams) == 1
	answer, g.streams = g.streams[0], g.streams[1:]
	g.lock.Unlock()
	for _, delta := range answer {
		event := &dashgatev1.ConverseStreamResponse{Event: &dashgatev1.ConverseStreamResponse_Delta{Delta: delta}}
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	if isLast {
		<-stream.Context().Done()
		g.left <- struct{}{}
		return stream.Context().Err()
	}
	return stream.Send(&dashgatev1.ConverseStreamResponse{
		Event: &dashgatev1.ConverseStreamResponse_Completed{Completed: new(dashgatev1.Completed)},
	})
}

func text(text string) *dashgatev1.Delta {
	return &dashgatev1.Delta{Part: &dashgatev1.Delta_Text{Text: text}}
}

func toolCall(name, arguments string) *dashgatev1.Delta {
	call := &dashgatev1.ToolCall{Id: "c", Name: name, Arguments: arguments}
	return &dashgatev1.Delta{Part: &dashgatev1.Delta_ToolCall{ToolCall: call}}
}

func throttled(t *testing.T, after time.Duration) error {
	t.Helper()
	failed, err := status.New(codes.ResourceExhausted, "slow").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if err != nil {
		t.Fatal(err)
	}
	return failed.Err()
}

func contains(t *testing.T, whole, part string) {
	t.Helper()
	if !strings.Contains(whole, part) {
		t.Errorf("%q is not in %q", part, whole)
	}
}
