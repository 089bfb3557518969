package recipes

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func TestWebAnswerIsStreamed(t *testing.T) {
	played := serve(t)
	played.streams = [][]*dashgatev1.Delta{{text("hel"), text("lo")}, nil}
	server := httptest.NewServer(StreamAnswer(played.client(t)))
	defer server.Close()
	response, err := http.Get(server.URL + "?q=hello")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	const want = "event: text\ndata: \"hel\"\n\nevent: text\ndata: \"lo\"\n\nevent: done\ndata: null\n\n"
	if string(body) != want {
		t.Errorf("got %q", body)
	}
}

func TestWebBrowserThatLeavesCancelsTheCall(t *testing.T) {
	played := serve(t)
	played.streams = [][]*dashgatev1.Delta{{text("hel")}}
	server := httptest.NewServer(StreamAnswer(played.client(t)))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	first, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	contains(t, first, "event: text")
	_ = response.Body.Close()
	select {
	case <-played.left:
	case <-time.After(limit):
		t.Fatal("the call goes on")
	}
}

func TestBatchIsBoundedAndReportsProgress(t *testing.T) {
	played := serve(t)
	const workers = 3
	var paths []string
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		paths = append(paths, filepath.Join(t.TempDir(), name+".wav"))
		if err := os.WriteFile(paths[len(paths)-1], []byte("RIFF....WAVE"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths[2] = filepath.Join(t.TempDir(), "missing.wav")
	var reports []int
	descriptions := DescribeAll(t.Context(), played.client(t), paths, workers, func(done, _ int) {
		reports = append(reports, done)
	})
	for at, one := range descriptions {
		if at == 2 && errors.Is(one.Err, fs.ErrNotExist) {
			continue
		}
		if one.Path != paths[at] || one.Text != "hello" || one.Err != nil {
			t.Errorf("%+v", one)
		}
	}
	if len(reports) != len(paths) || reports[6] != 7 || played.most > workers {
		t.Error(reports, played.most)
	}
}

func TestBatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "a.wav")
	if err := os.WriteFile(path, []byte("RIFF....WAVE"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, one := range DescribeAll(ctx, serve(t).client(t), []string{path, path}, 1, func(int, int) {}) {
		if !errors.Is(one.Err, context.Canceled) {
			t.Error(one.Err)
		}
	}
}

func TestChatAnswersWithTools(t *testing.T) {
	played := serve(t)
	played.streams = [][]*dashgatev1.Delta{
		{text("hello")},
		{toolCall("clock", `{"name":"Nowhere/X"}`)}, {toolCall("clock", `{"name":"UTC"}`)}, {text("noon")},
		nil,
	}
	var out strings.Builder
	if err := Chat(t.Context(), played.client(t), strings.NewReader("hi\nwhat time is it?\n"), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "hello\nnoon\n" {
		t.Errorf("got %q", out.String())
	}
	if len(played.streams) != 1 {
		t.Error("streams are left:", len(played.streams))
	}
}

func TestThrottledQuestionIsAskedAgain(t *testing.T) {
	played := serve(t)
	calls := 0
	played.converse = func() error {
		if calls++; calls < 3 {
			return throttled(t, time.Millisecond)
		}
		return nil
	}
	client, err := NewPatientClient(played.address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	answer, _, err := AskOrPostpone(t.Context(), client, "?")
	if answer != "hello" || err != nil || calls != 3 {
		t.Error(answer, err, calls)
	}
	played.converse = func() error { return throttled(t, time.Hour) }
	if _, again, err := AskOrPostpone(t.Context(), client, "?"); again != time.Hour || err != nil {
		t.Error(again, err)
	}
	played.converse = func() error { return status.Error(codes.InvalidArgument, "no") }
	if _, again, err := AskOrPostpone(t.Context(), client, "?"); again != 0 || status.Code(err) != codes.InvalidArgument {
		t.Error(again, err)
	}
}

func TestTraceReachesTheGateway(t *testing.T) {
	played := serve(t)
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	client, err := NewTracedClient(played.address, provider)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, span := provider.Tracer("test").Start(t.Context(), "question")
	if _, _, err := AskOrPostpone(ctx, client, "?"); err != nil {
		t.Fatal(err)
	}
	span.End()
	sent := strings.Join(played.metadata.Get("traceparent"), ",")
	contains(t, sent, span.SpanContext().TraceID().String())
	found := false
	for _, made := range spans.GetSpans() {
		isCall := strings.Contains(made.Name, "ConversationService/Converse")
		found = found || isCall && strings.Contains(sent, made.SpanContext.SpanID().String())
	}
	if !found {
		t.Error("there is no span of the call:", spans.GetSpans())
	}
}
