package dashgate

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// limit is longer than anything here takes on a busy machine.
const limit = 20 * time.Second

// gateway plays what a test tells it, and keeps what it sees.
type gateway struct {
	dashgatev1.UnimplementedConversationServiceServer
	dashgatev1.UnimplementedMediaServiceServer

	address  string
	converse func(context.Context) (*dashgatev1.ConverseResponse, error)
	events   []*dashgatev1.ConverseStreamResponse
	silent   bool
	came     chan struct{}
	ended    chan struct{}

	lock     sync.Mutex
	names    []string
	metadata []grpcmetadata.MD
	chunks   []int
	uploaded *dashgatev1.MediaDescription
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
	return g.converse(ctx)
}

func (g *gateway) ConverseStream(
	request *dashgatev1.ConverseStreamRequest,
	stream grpc.ServerStreamingServer[dashgatev1.ConverseStreamResponse],
) error {
	g.saw(stream.Context(), request.GetRequestId())
	for _, event := range g.events {
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	if g.silent {
		<-stream.Context().Done()
	}
	return nil
}

func (g *gateway) UploadMedia(
	stream grpc.ClientStreamingServer[dashgatev1.UploadMediaRequest, dashgatev1.UploadMediaResponse],
) error {
	g.saw(stream.Context(), "")
	total := 0
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&dashgatev1.UploadMediaResponse{SizeBytes: int64(total)})
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

func play(t *testing.T) *gateway {
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
	server := grpc.NewServer(grpc.MaxRecvMsgSize(messageLimit))
	dashgatev1.RegisterConversationServiceServer(server, played)
	dashgatev1.RegisterMediaServiceServer(server, played)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
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

func TestAnswer(t *testing.T) {
	played := play(t)
	client := played.client(t, WithAPIKey("k"), WithMetadata(map[string]string{"X-One": "1", "x-two": "1"}))
	answer, err := client.Converse(t.Context(), ask(),
		WithRequestID("mine"), WithMetadata(map[string]string{"x-two": "2"}))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "hello")
	equal(t, "name", played.names, []string{"mine"})
	seen := played.metadata[0]
	equal(t, "key", seen.Get("authorization"), []string{"Bearer k"})
	equal(t, "metadata", []string{seen.Get("x-one")[0], seen.Get("x-two")[0]}, []string{"1", "2"})
	if agent := seen.Get("user-agent")[0]; !strings.HasPrefix(agent, "dashgate-go/"+Version+" ") {
		t.Error(agent)
	}
}

func TestStream(t *testing.T) {
	played := play(t)
	client := played.client(t)
	stream := client.Stream(t.Context(), ask())
	var texts []string
	for text, err := range stream.TextDeltas() {
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	equal(t, "texts", texts, []string{"hel", "lo"})
	answer, err := stream.Final()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "hello")
	count := 0
	for _, err := range client.Stream(t.Context(), ask()).Events() {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	equal(t, "events", count, 4)
	if len(played.names[0]) != 36 || played.names[0] == played.names[1] {
		t.Error("each call has a name of its own:", played.names)
	}
}

func TestNothingIsConnectedBeforeTheFirstCall(t *testing.T) {
	client := play(t).client(t)
	equal(t, "state", client.owned.GetState(), connectivity.Idle)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Converse(t.Context(), ask()); err == nil {
		t.Error("a closed client answered")
	}
}

func TestGivenConnectionStaysItsOwners(t *testing.T) {
	played := play(t)
	conn, err := grpc.NewClient(played.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		client, err := FromConn(conn)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Converse(t.Context(), ask()); err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
	}
	if _, err := FromConn(conn, WithTLS(nil)); err == nil {
		t.Error("a connection that exists cannot be given TLS")
	}
}

func TestErrorTellsAll(t *testing.T) {
	played := play(t)
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		return nil, refuse(ctx, codes.ResourceExhausted, "7",
			&errdetails.ErrorInfo{Reason: "UPSTREAM_RATE"},
			&dashgatev1.CallFailure{
				Reason: dashgatev1.ErrorReason_UPSTREAM_RATE, Attempts: 3, UpstreamCode: "Throttling",
				UpstreamHttpStatus: proto.Int32(429), UpstreamRequestId: "up", Model: "m", OutputStarted: true,
				Usage: &dashgatev1.Usage{OutputTokens: proto.Int32(7)},
			},
			&errdetails.RequestInfo{RequestId: "named"},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "a.b", Description: "is wrong"},
			}})
	}
	_, err := played.client(t, WithAPIKey("hush")).Converse(t.Context(), ask())
	failed := failure(t, err)
	after, again := failed.RetryAfter()
	equal(t, "retry", fmt.Sprint(after, again), "1.5s true")
	equal(t, "raw", len(failed.Status.Details()), 5)
	equal(t, "usage", failed.Usage.GetOutputTokens(), 7)
	equal(t, "code", status.Code(err), codes.ResourceExhausted)
	got := *failed
	got.Status, got.Usage, got.retryAfter = nil, nil, nil
	equal(t, "error", got, Error{
		Code: codes.ResourceExhausted, Message: "it failed", RawReason: "UPSTREAM_RATE",
		Reason: dashgatev1.ErrorReason_UPSTREAM_RATE, OutputStarted: true, Model: "m", RequestID: "named", UpstreamCode: "Throttling", UpstreamHTTPStatus: 429,
		UpstreamRequestID: "up", Attempts: 3, FieldViolations: []FieldViolation{{"a.b", "is wrong"}},
	})
	equal(t, "text", err.Error(), "ResourceExhausted UPSTREAM_RATE: it failed (request named)")
}

func TestUnavailableIsRepeatedUnderTheSameName(t *testing.T) {
	played := play(t)
	attempts := 0
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		if attempts++; attempts < 3 {
			return nil, refuse(ctx, codes.Unavailable, "1")
		}
		return says("at last"), nil
	}
	// Larger than what gRPC keeps for a retry unless told otherwise.
	loud := NewConversation("m").User(AudioBytes(make([]byte, 1<<20)))
	answer, err := played.client(t).Converse(t.Context(), loud)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "at last")
	equal(t, "names", len(slices.Compact(played.names)), 1)
}

func TestRetriesEnd(t *testing.T) {
	for name, one := range map[string]struct {
		code     codes.Code
		pushback string
		attempts int
	}{
		"forbidden":  {codes.Unavailable, "-1", 1},
		"unreadable": {codes.Unavailable, "soon", 1},
		"other code": {codes.Internal, "1", 1},
		"the limit":  {codes.Unavailable, "1", 4},
	} {
		t.Run(name, func(t *testing.T) {
			played := play(t)
			played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
				return nil, refuse(ctx, one.code, one.pushback)
			}
			_, err := played.client(t).Converse(t.Context(), ask())
			// gRPC would tell how often it tried, and hide what the gateway said behind it.
			equal(t, "message", failure(t, err).Message, "it failed")
			equal(t, "attempts", len(played.names), one.attempts)
		})
	}
}

func TestStreamThatEndsEarlyFailsEachTime(t *testing.T) {
	played := play(t)
	played.events = played.events[:2]
	stream := played.client(t).Stream(t.Context(), ask())
	for range 2 {
		_, err := stream.Final()
		failed := failure(t, err)
		equal(t, "reason", failed.Reason, dashgatev1.ErrorReason_STREAM_TRUNCATED)
		equal(t, "output started", failed.OutputStarted, true)
		equal(t, "code", failed.Code, codes.Internal)
	}
}

func TestSilentStreamFails(t *testing.T) {
	played := play(t)
	played.events, played.silent = played.events[:1], true
	_, err := played.client(t, WithIdleTimeout(100*time.Millisecond)).Stream(t.Context(), ask()).Final()
	failed := failure(t, err)
	equal(t, "reason", failed.RawReason, "STREAM_IDLE")
	equal(t, "code", failed.Code, codes.DeadlineExceeded)
	within(t, "the call ended", played.ended)
}

func TestLeavingAStreamEndsTheCall(t *testing.T) {
	for name, leave := range map[string]func(*Stream, context.CancelFunc){
		"break": func(stream *Stream, _ context.CancelFunc) {
			for range stream.Events() {
				break
			}
		},
		"break of texts": func(stream *Stream, _ context.CancelFunc) {
			for range stream.TextDeltas() {
				break
			}
		},
		"close":  func(stream *Stream, _ context.CancelFunc) { stream.Close() },
		"cancel": func(_ *Stream, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			played := play(t)
			played.events, played.silent = played.events[:2], true
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream := played.client(t).Stream(ctx, ask())
			within(t, "the call came", played.came)
			leave(stream, cancel)
			within(t, "the call ended", played.ended)
			if _, err := stream.Final(); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

func TestContextEndsACall(t *testing.T) {
	played := play(t)
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client := played.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-played.came
		cancel()
	}()
	_, err := client.Converse(ctx, ask())
	equal(t, "code", failure(t, err).Code, codes.Canceled)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_, err = client.Converse(t.Context(), ask(), WithTimeout(50*time.Millisecond))
	equal(t, "code", failure(t, err).Code, codes.DeadlineExceeded)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestDeadlines(t *testing.T) {
	soon, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for name, one := range map[string]struct {
		ctx                   context.Context
		own, client, fallback time.Duration
		want                  time.Duration
	}{
		"own":     {t.Context(), time.Second, time.Minute, time.Hour, time.Second},
		"client":  {t.Context(), 0, time.Minute, time.Hour, time.Minute},
		"default": {t.Context(), 0, 0, unaryTimeout, unaryTimeout},
		"none":    {t.Context(), 0, 0, 0, 0},
		"context": {soon, 0, time.Minute, unaryTimeout, time.Hour},
	} {
		ctx, cancel := withTimeout(one.ctx, one.own, one.client, one.fallback)
		deadline, there := ctx.Deadline()
		equal(t, name, there, one.want > 0)
		if left := time.Until(deadline); there && (left > one.want || left < one.want-time.Minute) {
			t.Errorf("%s: %v left, want %v", name, left, one.want)
		}
		cancel()
	}
}

func TestUpload(t *testing.T) {
	played := play(t)
	client := played.client(t)
	data := append([]byte("RIFF....WAVE"), make([]byte, 600_000)...)
	file := filepath.Join(t.TempDir(), "sound.wav")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, upload := range map[string]func() (*dashgatev1.UploadMediaResponse, error){
		"file": func() (*dashgatev1.UploadMediaResponse, error) { return client.UploadFile(t.Context(), "m", file) },
		"buffer": func() (*dashgatev1.UploadMediaResponse, error) {
			return client.Upload(t.Context(), "m", bytes.NewBuffer(data))
		},
		"pipe": func() (*dashgatev1.UploadMediaResponse, error) {
			return client.Upload(t.Context(), "m", io.MultiReader(bytes.NewReader(data)))
		},
	} {
		played.chunks = nil
		uploaded, err := upload()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, uploaded.GetSizeBytes(), int64(len(data)))
		equal(t, name, played.chunks, []int{262_144, 262_144, 75_724})
		equal(t, name, played.uploaded.GetMimeType(), "audio/wav")
		equal(t, name, played.uploaded.SizeBytes != nil, name != "pipe")
		equal(t, name, played.uploaded.GetName() == "sound.wav", name == "file")
	}
	equal(t, "name of the call", len(played.metadata[0].Get("x-request-id")[0]), 36)
}

func TestReaderThatFails(t *testing.T) {
	broken := errors.New("the disk is gone")
	source := io.MultiReader(bytes.NewReader(make([]byte, chunkSize)), failing{broken})
	if _, err := play(t).client(t).Upload(t.Context(), "m", source); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestToolLoop(t *testing.T) {
	played := play(t)
	turns := []*dashgatev1.ConverseResponse{calls("double"), calls("nope"), says("2")}
	played.converse = func(context.Context) (*dashgatev1.ConverseResponse, error) {
		turn := turns[0]
		turns = turns[1:]
		return turn, nil
	}
	var got []string
	tool := Tool{Name: "double", Function: func(_ context.Context, arguments string) (string, error) {
		got = append(got, arguments)
		return "2", nil
	}}
	conversation := ask()
	answer, err := played.client(t).RunTools(t.Context(), conversation, []Tool{tool})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "2")
	equal(t, "arguments", got, []string{`{"x":1}`})
	var results []string
	for _, turn := range conversation.Raw.GetMessages() {
		if turn.GetToolCallId() != "" {
			results = append(results, turn.GetContent()[0].GetText())
		}
	}
	equal(t, "results", results, []string{"2", `{"error":"there is no tool nope"}`})
}

func TestToolLoopHasAnEnd(t *testing.T) {
	played := play(t)
	played.converse = func(context.Context) (*dashgatev1.ConverseResponse, error) { return calls("f"), nil }
	client := played.client(t)
	echo := func(_ context.Context, arguments string) (string, error) { return arguments, nil }
	_, err := client.RunTools(t.Context(), ask(), []Tool{{Name: "f", Function: echo}}, WithMaxRounds(2))
	equal(t, "reason", failure(t, err).RawReason, "TOOL_ROUNDS")
	equal(t, "questions", len(played.names), 3)
	broken := errors.New("broken")
	fail := func(context.Context, string) (string, error) { return "", broken }
	if _, err := client.RunTools(t.Context(), ask(), []Tool{{Name: "f", Function: fail}}); err != broken {
		t.Error(err)
	}
}

func TestTargets(t *testing.T) {
	for target, want := range map[string]string{
		"h:1": "h:1", "127.0.0.1:1": "127.0.0.1:1", "http://h:1/": "h:1", "https://h": "h:443",
		"[::1]:1": "[::1]:1", "unix:/run/x.sock": "unix:/run/x.sock",
		"dns:///h:1": "dns:///h:1", "dns:h:1": "dns:///h:1", "ipv4:10.0.0.1:1": "10.0.0.1:1",
		"ipv6:[::1]:1": "[::1]:1",
	} {
		got, err := parseTarget(target)
		if err != nil {
			t.Error(err)
		}
		equal(t, target, got.address, want)
	}
	for _, wrong := range []string{
		"h", ":1", "ftp://h:1", "h:1/path", "h:x", "unix:", "k@h:1", "https://", "dns:///",
		"dns://server/h:1", "ipv4:10.0.0.1:1,10.0.0.2:1", "xds:///h:1",
	} {
		if _, err := parseTarget(wrong); err == nil || !strings.Contains(err.Error(), targetForms) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestANameIsCalledAtAllItsAddresses(t *testing.T) {
	played := play(t)
	client, err := New("dns:///" + played.address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Converse(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(spread(serviceConfig)), &config); err != nil {
		t.Fatal(err)
	}
	if config["loadBalancingConfig"] == nil || config["methodConfig"] == nil {
		t.Error(config)
	}
}

func TestEnvironmentFillsIn(t *testing.T) {
	played := play(t)
	t.Setenv("DASHGATE_ADDR", "http://"+played.address)
	t.Setenv("DASHGATE_API_KEY", "from-environment")
	client, err := New("")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Converse(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	equal(t, "key", played.metadata[0].Get("authorization"), []string{"Bearer from-environment"})
}

func TestContradictionsAreRefused(t *testing.T) {
	for name, options := range map[string][]ClientOption{
		"http and TLS": {WithTLS(nil)},
		"timeout":      {WithTimeout(-1)},
		"idle timeout": {WithIdleTimeout(0)},
		"key":          {WithAPIKey("hush\nhush")},
	} {
		if _, err := New("http://h:1", options...); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := TLSFromFiles("", "cert.pem", "", ""); err == nil {
		t.Error("a certificate needs its key")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	client := play(t).client(t, WithAPIKey("hush-hush"))
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{client, *client, client.settings, &client.settings, WithAPIKey("hush-hush")} {
			if shown := fmt.Sprintf(form, value); strings.Contains(shown, "hush") {
				t.Errorf("%s of %T: %s", form, value, shown)
			}
		}
	}
}

func TestTablesAreTheCommonOnes(t *testing.T) {
	var common struct {
		Rules []struct {
			Match string `json:"match"`
			Types string `json:"types"`
		} `json:"rules"`
		Extensions map[string]string `json:"extensions"`
		Samples    []struct {
			Head     string `json:"head"`
			Name     string `json:"name"`
			Kind     string `json:"kind"`
			MIMEType string `json:"mime_type"`
		} `json:"samples"`
	}
	text, err := os.ReadFile("../../tests/conformance/sniffing.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &common); err != nil {
		t.Fatal(err)
	}
	equal(t, "extensions", extensions, common.Extensions)
	var all []sniffRule
	for _, rule := range common.Rules {
		all = append(all, sniffRule{rule.Match, rule.Types})
	}
	equal(t, "rules", rules, all)
	for _, sample := range common.Samples {
		head, err := hex.DecodeString(sample.Head)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, sample.Head+" "+sample.Name, sniff(head, sample.Name, sample.Kind), sample.MIMEType)
	}
	config, err := os.ReadFile("../service-config.json")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "service config", serviceConfig, string(config))
}
