package dashgate

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmetadata "google.golang.org/grpc/metadata"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// lines is a log that goroutines write.
type lines struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.Write(text)
}

func (l *lines) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.String()
}

// logged lets log/slog write into the returned log, with the levels of its default handler.
func logged(t *testing.T, level string) *lines {
	t.Helper()
	before, log := slog.Default(), new(lines)
	t.Setenv("DASHGATE_LOG", level)
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return log
}

func mustMatch(t *testing.T, log *lines, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(log.String()) {
			t.Errorf("%s is not in\n%s", pattern, log)
		}
	}
}

func TestNothingIsLoggedByDefault(t *testing.T) {
	for _, level := range []string{"", "off", "loud"} {
		log := logged(t, level)
		if _, err := play(t).client(t).Converse(t.Context(), ask()); err != nil {
			t.Fatal(err)
		}
		equal(t, level, log.String(), "")
	}
}

func TestLogOfCalls(t *testing.T) {
	log := logged(t, "info")
	played := play(t)
	client := played.client(t, WithAPIKey("hush"), WithMetadata(map[string]string{"x-secret": "hush"}))
	secret := NewConversation("m").User(Text("hush"))
	if _, err := client.Converse(t.Context(), secret, WithRequestID("r-1")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Stream(t.Context(), secret, WithRequestID("r-2")).Final(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Upload(t.Context(), "m", strings.NewReader("hush")); err != nil {
		t.Fatal(err)
	}
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		return nil, refuse(ctx, codes.NotFound, "-1", &errdetails.ErrorInfo{Reason: "MODEL_NOT_FOUND"})
	}
	if _, err := client.Converse(t.Context(), secret, WithRequestID("r-3")); err == nil {
		t.Fatal("it must fail")
	}
	mustMatch(t, log,
		`"dashgate: Converse OK \d+ ms, request id r-1, `+played.address+`"`,
		`"dashgate: ConverseStream OK \d+ ms, request id r-2, `+played.address+`"`,
		`"dashgate: UploadMedia OK \d+ ms, request id [0-9a-f-]{36}, `+played.address+`"`,
		`"dashgate: Converse NOT_FOUND MODEL_NOT_FOUND \d+ ms, request id r-3, `+played.address+`"`)
	if text := log.String(); strings.Contains(text, "hush") || strings.Contains(text, "it failed") ||
		strings.Count(text, "\n") != 4 {
		t.Error(text)
	}
}

func TestLogOfRetriesAndConnections(t *testing.T) {
	log := logged(t, "debug")
	played := play(t)
	slow, attempts := throttled(t, time.Millisecond), 0
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		switch attempts++; attempts {
		case 1:
			return nil, slow
		case 2:
			return nil, refuse(ctx, codes.Unavailable, "1")
		default:
			return says("hello"), nil
		}
	}
	client := played.client(t, WithMaxRetries(1))
	if _, err := client.Converse(t.Context(), ask(), WithRequestID("r-1")); err != nil {
		t.Fatal(err)
	}
	played.parts = []part{
		{events: numbered(1, started(), delta("hel")), end: lost()},
		{events: numbered(3, delta("lo"), completed())},
	}
	if _, err := client.Stream(t.Context(), ask(), WithRequestID("r-2")).Final(); err != nil {
		t.Fatal(err)
	}
	mustMatch(t, log,
		`dashgate: connected to `+played.address,
		`dashgate: retry 1 of Converse in \d+ ms after RESOURCE_EXHAUSTED CALLER_RATE, request id r-1`,
		`dashgate: retry 1 of Converse after \d+ ms, request id r-1`,
		`dashgate: resume 1 of ConverseStream in \d+ ms after UNAVAILABLE, request id r-2`,
		`dashgate: ConverseStream OK`)
}

func TestLogOfAClosedPort(t *testing.T) {
	log := logged(t, "debug")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	soon := strings.NewReplacer(`"0.5s"`, `"0.001s"`, `5,`, `3,`).Replace(serviceConfig)
	client, err := New(listener.Addr().String(), WithDialOptions(grpc.WithDefaultServiceConfig(soon)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Converse(t.Context(), ask())
	equal(t, "code", failure(t, err).Code, codes.Unavailable)
	var retries []int
	for _, retry := range []string{"retry 1", "retry 2", "retry 3"} {
		retries = append(retries, strings.Count(log.String(), retry+" of Converse"))
	}
	equal(t, "retries", retries, []int{1, 1, 0})
}

func TestDialOptionsAreAppliedLast(t *testing.T) {
	played := play(t)
	var seen []string
	interceptor := func(name string) grpc.UnaryClientInterceptor {
		return func(ctx context.Context, method string, request, response any, conn *grpc.ClientConn,
			invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			sent, _ := grpcmetadata.FromOutgoingContext(ctx)
			seen = append(seen, name+" "+method+" "+strings.Join(sent.Get("authorization"), ","))
			return invoke(ctx, method, request, response, conn, options...)
		}
	}
	client := played.client(t, WithAPIKey("k"), WithDialOptions(
		grpc.WithChainUnaryInterceptor(interceptor("outer"), interceptor("inner")),
		grpc.WithUserAgent("mine"),
	))
	if _, err := client.Converse(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	const method = "/dashgate.v1.ConversationService/Converse"
	equal(t, "interceptors", seen, []string{"outer " + method + " Bearer k", "inner " + method + " Bearer k"})
	if agent := played.metadata[0].Get("user-agent")[0]; !strings.HasPrefix(agent, "mine ") {
		t.Error(agent)
	}
	equal(t, "the others stay", played.metadata[0].Get("authorization"), []string{"Bearer k"})
}

func TestATextFromElsewhereIsPartOfOneLine(t *testing.T) {
	log := logged(t, "debug")
	played := play(t)
	played.converse = func(ctx context.Context) (*dashgatev1.ConverseResponse, error) {
		return nil, refuse(ctx, codes.NotFound, "-1", &errdetails.ErrorInfo{Reason: "A\nforged \u202ereason" + strings.Repeat("\u00e9", 300)})
	}
	id := "r\r\n\x1b[31m\xff\u4f60" + strings.Repeat("i", 300)
	client := played.client(t)
	// gRPC would refuse such an id in the metadata; in the request it is the gateway's to judge.
	_, _ = client.Converse(t.Context(), ask(), WithRequestID(id))
	record := &callRecord{log: client.log, method: "ConverseStream", requestID: printable(id)}
	record.again("resume", 1, time.Second, &Error{Code: codes.Unavailable, RawReason: id})
	cleaned := "r???[31m??" + strings.Repeat("i", 190)
	mustMatch(t, log, `dashgate: Converse \S+ .* request id `+regexp.QuoteMeta(cleaned)+`, 127`,
		`resume 1 of ConverseStream in 1000 ms after UNAVAILABLE `+regexp.QuoteMeta(cleaned)+`, request id `+regexp.QuoteMeta(cleaned)+`"`)
	equal(t, "reason", outcome(&Error{Code: codes.NotFound, RawReason: "A\nforged \u202ereason" + strings.Repeat("\u00e9", 300)}),
		"NOT_FOUND A?forged ?reason"+strings.Repeat("?", 200-len("A?forged ?reason")))
	for _, char := range log.String() {
		if char > '~' || char < ' ' && char != '\n' {
			t.Errorf("%q is in the log", char)
		}
	}
}
