package dashgate

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// manages records a request and returns the next error, if there is one.
func (g *gateway) manages(ctx context.Context, request proto.Message) error {
	g.saw(ctx, "")
	_ = grpc.SetTrailer(ctx, grpcmetadata.New(g.trailer))
	g.lock.Lock()
	defer g.lock.Unlock()
	g.requests = append(g.requests, request)
	if len(g.refusals) == 0 {
		return nil
	}
	next := g.refusals[0]
	g.refusals = g.refusals[1:]
	return next
}

func (g *gateway) CreateConversation(
	ctx context.Context, request *dashgatev1.CreateConversationRequest,
) (*dashgatev1.CreateConversationResponse, error) {
	created := &dashgatev1.Conversation{Name: "conversations/" + request.GetConversationId()}
	return &dashgatev1.CreateConversationResponse{Conversation: created}, g.manages(ctx, request)
}

func (g *gateway) GetConversation(
	ctx context.Context, request *dashgatev1.GetConversationRequest,
) (*dashgatev1.GetConversationResponse, error) {
	got := &dashgatev1.Conversation{Name: request.GetName(), Model: "stored-model"}
	return &dashgatev1.GetConversationResponse{Conversation: got}, g.manages(ctx, request)
}

func (g *gateway) UpdateConversation(
	ctx context.Context, request *dashgatev1.UpdateConversationRequest,
) (*dashgatev1.UpdateConversationResponse, error) {
	return &dashgatev1.UpdateConversationResponse{Conversation: request.GetConversation()}, g.manages(ctx, request)
}

func (g *gateway) ForkConversation(
	ctx context.Context, request *dashgatev1.ForkConversationRequest,
) (*dashgatev1.ForkConversationResponse, error) {
	return new(dashgatev1.ForkConversationResponse), g.manages(ctx, request)
}

func (g *gateway) ListTurns(
	ctx context.Context, request *dashgatev1.ListTurnsRequest,
) (*dashgatev1.ListTurnsResponse, error) {
	page := &dashgatev1.ListTurnsResponse{Turns: []*dashgatev1.Turn{{Number: 1}}, NextPageToken: "next"}
	if request.GetPageToken() == "next" {
		page = &dashgatev1.ListTurnsResponse{Turns: []*dashgatev1.Turn{{Number: 2}, {Number: 3}}}
	}
	return page, g.manages(ctx, request)
}

// requested returns the JSON forms of the requests since the last call.
func (g *gateway) requested(t *testing.T) []string {
	t.Helper()
	g.lock.Lock()
	defer g.lock.Unlock()
	var forms []string
	for _, request := range g.requests {
		form, err := protojson.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		// protojson varies its spaces.
		forms = append(forms, strings.ReplaceAll(string(form), " ", ""))
	}
	g.requests = nil
	return forms
}

func TestStoredConversationSendsWhatIsNew(t *testing.T) {
	played := play(t)
	turn := int32(6)
	played.converse = func(context.Context) (*dashgatev1.ConverseResponse, error) {
		turn++
		response := says("hello")
		response.HistoryUsed = &dashgatev1.HistoryUsed{Turn: turn}
		return response, nil
	}
	played.events[3].GetCompleted().HistoryUsed = &dashgatev1.HistoryUsed{Turn: 9}
	client := played.client(t)
	conversation := NewConversation("").Named("conversations/x")
	policy := &dashgatev1.HistoryPolicy{MaxTurns: proto.Int32(3)}
	for _, options := range [][]CallOption{nil, {WithHistory(policy)}, {WithExpectedTurn(0)}} {
		conversation.User(Text("?"))
		answer, err := client.Converse(t.Context(), conversation, options...)
		if err != nil {
			t.Fatal(err)
		}
		conversation.Append(answer)
		equal(t, "messages", len(conversation.Raw.GetMessages()), 0)
	}
	var expected []int32
	for _, request := range played.conversations {
		equal(t, "messages", len(request.GetConversation().GetMessages()), 1)
		if request.ExpectedTurn == nil {
			expected = append(expected, -1)
		} else {
			expected = append(expected, request.GetExpectedTurn())
		}
	}
	equal(t, "expected turns", expected, []int32{-1, 7, 0})
	equal(t, "history", played.conversations[1].GetHistory().GetMaxTurns(), 3)
	answer, err := client.Stream(t.Context(), conversation.User(Text("?"))).Final()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "last turn", conversation.Append(answer).LastTurn(), 9)
	// It survives its JSON form, so that another process continues after the same turn.
	text, err := conversation.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var read Conversation
	if err := read.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	equal(t, "expected turn", *read.expectedTurn(new(call)), 9)
}

func TestUpdateHasTheMaskOfWhatIsGiven(t *testing.T) {
	played := play(t)
	client := played.client(t)
	for _, options := range [][]CallOption{
		{WithModel("m")}, {WithLabels(nil), WithTTL(time.Minute)}, {WithTTL(0)}, {WithModel(""), WithLabels(map[string]string{"a": "b"})},
	} {
		if _, err := client.UpdateConversation(t.Context(), "conversations/x", options...); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "requests", played.requested(t), []string{
		`{"conversation":{"name":"conversations/x","model":"m"},"updateMask":"model"}`,
		`{"conversation":{"name":"conversations/x","ttl":"60s"},"updateMask":"labels,ttl"}`,
		`{"conversation":{"name":"conversations/x"},"updateMask":"ttl"}`,
		`{"conversation":{"name":"conversations/x","labels":{"a":"b"}},"updateMask":"model,labels"}`,
	})
}

func TestTurnsComeInPages(t *testing.T) {
	played := play(t)
	client := played.client(t)
	var numbers []int32
	for turn, err := range client.ListTurns(t.Context(), "conversations/x",
		WithNewestFirst(true), WithIncludeMedia(true), WithPageSize(2)) {
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, turn.GetNumber())
	}
	equal(t, "turns", numbers, []int32{1, 2, 3})
	equal(t, "requests", played.requested(t), []string{
		`{"name":"conversations/x","pageSize":2,"includeMedia":true,"newestFirst":true}`,
		`{"name":"conversations/x","pageSize":2,"pageToken":"next","includeMedia":true,"newestFirst":true}`,
	})
	for range client.ListTurns(t.Context(), "conversations/x") {
		break
	}
	equal(t, "pages", len(played.requested(t)), 1)
	played.refusals = []error{status.Error(codes.NotFound, "no")}
	for _, err := range client.ListTurns(t.Context(), "conversations/x") {
		equal(t, "code", failure(t, err).Code, codes.NotFound)
	}
}

func TestCreationWithoutAnIDIsNotRetried(t *testing.T) {
	for name, one := range map[string]struct {
		create   func(*Client) error
		attempts int
	}{
		"create": {func(client *Client) error {
			_, err := client.CreateConversation(t.Context(), "", WithModel("m"))
			return err
		}, 1},
		"fork": {func(client *Client) error {
			_, err := client.ForkConversation(t.Context(), "conversations/x", "", WithLastTurn(0))
			return err
		}, 1},
		"create with an id": {func(client *Client) error {
			_, err := client.CreateConversation(t.Context(), "x")
			return err
		}, 2},
		"fork with an id": {func(client *Client) error {
			_, err := client.ForkConversation(t.Context(), "conversations/x", "y")
			return err
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			played := play(t)
			played.trailer = map[string]string{"grpc-retry-pushback-ms": "1"}
			played.refusals = []error{status.Error(codes.Unavailable, "down")}
			err := one.create(played.client(t))
			if one.attempts == 1 {
				equal(t, "code", failure(t, err).Code, codes.Unavailable)
			} else if err != nil {
				t.Error(err)
			}
			equal(t, "attempts", len(played.requests), one.attempts)
		})
	}
}

func TestLargeFileOfAStoredConversation(t *testing.T) {
	played := play(t)
	part, err := AudioFile(written(t, "a.wav", large()))
	if err != nil {
		t.Fatal(err)
	}
	conversation := NewConversation("").Named("conversations/x").User(part)
	if _, err := played.client(t).Converse(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	// The storage belongs to a model, which the gateway knows.
	equal(t, "model", played.uploaded.GetModel(), "stored-model")
}
