package dashgate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

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
	equal(t, "state", client.owned.lanes[0].conn.GetState(), connectivity.Idle)
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
	equal(t, "headers", failed.Headers["grpc-retry-pushback-ms"], "7")
	got.Status, got.Usage, got.retryAfter, got.Headers = nil, nil, nil, nil
	equal(t, "error", got, Error{
		Code: codes.ResourceExhausted, Message: "it failed", RawReason: "UPSTREAM_RATE",
		Reason: dashgatev1.ErrorReason_UPSTREAM_RATE, OutputStarted: true, Retryable: true, Model: "m", RequestID: "named", UpstreamCode: "Throttling", UpstreamHTTPStatus: 429,
		UpstreamRequestID: "up", Attempts: 3, FieldViolations: []FieldViolation{{"a.b", "is wrong"}},
	})
	equal(t, "text", err.Error(), "ResourceExhausted UPSTREAM_RATE: it failed (request id named)")
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
	// Larger than gRPC's default limit for retries.
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
		"the limit":  {codes.Unavailable, "1", 5},
	} {
		t.Run(name, func(t *testing.T) {
			played := play(t)
			played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
				return nil, refuse(ctx, one.code, one.pushback)
			}
			_, err := played.client(t).Converse(t.Context(), ask())
			// gRPC would prefix the gateway's message with the number of attempts.
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
	equal(t, "request id", len(played.metadata[0].Get("x-request-id")[0]), 36)
	played.metadata = nil
	for _, options := range [][]CallOption{
		{WithMetadata(map[string]string{"X-Request-ID": "a"})},
		{WithMetadata(map[string]string{"X-Request-ID": "b"}), WithRequestID("a")},
	} {
		if _, err := client.Upload(t.Context(), "m", bytes.NewReader(data), options...); err != nil {
			t.Fatal(err)
		}
		equal(t, "request id", played.metadata[0].Get("x-request-id"), []string{"a"})
		played.metadata = nil
	}
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
