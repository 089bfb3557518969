package dashgate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/timestamppb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// limit is longer than any test step takes on a busy machine.
const limit = 20 * time.Second

// gateway is a scripted gateway that records its requests.
type gateway struct {
	dashgatev1.UnimplementedConversationServiceServer
	dashgatev1.UnimplementedMediaServiceServer
	dashgatev1.UnimplementedCallServiceServer

	address  string
	converse func(context.Context) (*dashgatev1.ConverseResponse, error)
	events   []*dashgatev1.ConverseStreamResponse
	silent   bool
	// header and trailer are metadata of the responses.
	header, trailer map[string]string
	// parts are the events of one call after the other, if there are any, and how each ends.
	parts  []part
	server *grpc.Server
	came   chan struct{}
	ended  chan struct{}

	lock  sync.Mutex
	names []string
	// conversations are the requests of Converse.
	conversations []*dashgatev1.ConverseRequest
	metadata      []grpcmetadata.MD
	chunks        []int
	uploads       int
	// stalled is whether uploads are not read.
	stalled  bool
	uploaded *dashgatev1.MediaDescription
	// requests are those that manage conversations, refusals the errors of the first of them.
	requests []proto.Message
	refusals []error
	// after has the after_sequence of each stream, cancelled the request ids of CancelCall.
	after     []int32
	cancelled []string
}

// part is what one connection has of a stream.
type part struct {
	events []*dashgatev1.ConverseStreamResponse
	end    error
}

func (g *gateway) saw(ctx context.Context, name string) {
	g.lock.Lock()
	defer g.lock.Unlock()
	seen, _ := grpcmetadata.FromIncomingContext(ctx)
	g.metadata = append(g.metadata, seen)
	g.names = append(g.names, name)
	g.came <- struct{}{}
	context.AfterFunc(ctx, func() { g.ended <- struct{}{} })
}

func (g *gateway) Converse(
	ctx context.Context, request *dashgatev1.ConverseRequest,
) (*dashgatev1.ConverseResponse, error) {
	g.saw(ctx, request.GetRequestId())
	g.lock.Lock()
	g.conversations = append(g.conversations, request)
	g.lock.Unlock()
	if err := grpc.SetHeader(ctx, grpcmetadata.New(g.header)); err != nil {
		return nil, err
	}
	_ = grpc.SetTrailer(ctx, grpcmetadata.New(g.trailer))
	return g.converse(ctx)
}

func (g *gateway) ConverseStream(
	request *dashgatev1.ConverseStreamRequest,
	stream grpc.ServerStreamingServer[dashgatev1.ConverseStreamResponse],
) error {
	g.saw(stream.Context(), request.GetRequestId())
	if err := stream.SetHeader(grpcmetadata.New(g.header)); err != nil {
		return err
	}
	stream.SetTrailer(grpcmetadata.New(g.trailer))
	g.lock.Lock()
	g.after = append(g.after, request.GetAfterSequence())
	now := part{events: g.events}
	if len(g.parts) > 0 {
		now, g.parts = g.parts[0], g.parts[1:]
	}
	g.lock.Unlock()
	for _, event := range now.events {
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	if now.end != nil {
		return now.end
	}
	if g.silent {
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	return nil
}

func (g *gateway) CancelCall(
	_ context.Context, request *dashgatev1.CancelCallRequest,
) (*dashgatev1.CancelCallResponse, error) {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.cancelled = append(g.cancelled, request.GetRequestId())
	return new(dashgatev1.CancelCallResponse), nil
}

func (g *gateway) UploadMedia(
	stream grpc.ClientStreamingServer[dashgatev1.UploadMediaRequest, dashgatev1.UploadMediaResponse],
) error {
	g.saw(stream.Context(), "")
	if g.stalled {
		<-stream.Context().Done()
	}
	total := 0
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			g.lock.Lock()
			g.uploads++
			uri := fmt.Sprintf("oss://%d", g.uploads)
			g.lock.Unlock()
			return stream.SendAndClose(&dashgatev1.UploadMediaResponse{
				Uri: uri, SizeBytes: int64(total), ExpiresAt: timestamppb.New(time.Now().Add(48 * time.Hour)),
			})
		}
		if err != nil {
			return err
		}
		if description := message.GetDescription(); description != nil {
			g.uploaded = description
			continue
		}
		total += len(message.GetChunk())
		g.chunks = append(g.chunks, len(message.GetChunk()))
	}
}

func play(t *testing.T, options ...grpc.ServerOption) *gateway {
	t.Helper()
	t.Setenv("DASHGATE_ADDR", "")
	t.Setenv("DASHGATE_API_KEY", "")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	played := &gateway{
		address: listener.Addr().String(),
		converse: func(context.Context) (*dashgatev1.ConverseResponse, error) {
			return says("hello"), nil
		},
		events: []*dashgatev1.ConverseStreamResponse{started(), delta("hel"), delta("lo"), completed()},
		came:   make(chan struct{}, 100),
		ended:  make(chan struct{}, 100),
	}
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(messageLimit))...)
	dashgatev1.RegisterConversationServiceServer(server, played)
	dashgatev1.RegisterMediaServiceServer(server, played)
	dashgatev1.RegisterCallServiceServer(server, played)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	played.server = server
	return played
}

func (g *gateway) client(t *testing.T, options ...ClientOption) *Client {
	t.Helper()
	client, err := New(g.address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func says(text string) *dashgatev1.ConverseResponse {
	message := &dashgatev1.Message{Content: []*dashgatev1.Content{Text(text)}}
	return &dashgatev1.ConverseResponse{Choices: []*dashgatev1.Choice{{Message: message}}, RequestId: "r"}
}

func calls(name string) *dashgatev1.ConverseResponse {
	message := &dashgatev1.Message{ToolCalls: []*dashgatev1.ToolCall{{Id: "c", Name: name, Arguments: `{"x":1}`}}}
	return &dashgatev1.ConverseResponse{Choices: []*dashgatev1.Choice{{Message: message}}}
}

// refuse returns an error with details, and sets its pushback.
func refuse(
	ctx context.Context, code codes.Code, pushback string, details ...protoadapt.MessageV1,
) error {
	_ = grpc.SetTrailer(ctx, grpcmetadata.Pairs("grpc-retry-pushback-ms", pushback))
	failed, err := status.New(code, "it failed").WithDetails(details...)
	if err != nil {
		return err
	}
	return failed.Err()
}

// givenConnClient returns a client of a connection that was passed to it.
func givenConnClient(t *testing.T, address string) *Client {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client, err := FromConn(conn)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func ask() *Conversation { return NewConversation("m").User(Text("hello?")) }

func within(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(limit):
		t.Fatal("this did not happen:", what)
	}
}

func failure(t *testing.T, err error) *Error {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("not an Error: %v", err)
	}
	return failed
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
