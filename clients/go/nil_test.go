package dashgate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// mustRefuse checks that an error is about an argument, and that nothing was sent.
func mustRefuse(t *testing.T, played *gateway, err error, argument string) {
	t.Helper()
	failed := failure(t, err)
	equal(t, "code", failed.Code, codes.InvalidArgument)
	equal(t, "reason", failed.Reason, dashgatev1.ErrorReason_INVALID_REQUEST)
	if !strings.HasPrefix(failed.Message, argument+" is nil") {
		t.Errorf("%q does not name %s", failed.Message, argument)
	}
	equal(t, "calls", len(played.names), 0)
}

func TestNilContext(t *testing.T) {
	played := play(t)
	client := played.client(t)
	var none context.Context
	for form, call := range forms {
		t.Run(form, func(t *testing.T) { mustRefuse(t, played, call(none, client), "ctx") })
	}
}

func TestNilConversation(t *testing.T) {
	played := play(t)
	client := played.client(t)
	ctx := t.Context()
	tool := Tool{Name: "f", Function: func(context.Context, string) (string, error) { return "", nil }}
	for form, call := range map[string]func(*Conversation) error{
		"converse": func(c *Conversation) error {
			_, err := client.Converse(ctx, c)
			return err
		},
		"stream": func(c *Conversation) error {
			stream := client.Stream(ctx, c)
			defer stream.Close()
			equal(t, "partial", stream.Partial(), nil)
			equal(t, "headers", len(stream.Headers()), 0)
			return last(stream.Events())
		},
		"run tools": func(c *Conversation) error {
			_, err := client.RunTools(ctx, c, []Tool{tool})
			return err
		},
		"stream tools": func(c *Conversation) error {
			stream := client.StreamTools(ctx, c, []Tool{tool})
			defer stream.Close()
			equal(t, "partial", stream.Partial(), nil)
			return last(stream.TextDeltas())
		},
		"converse as": func(c *Conversation) error {
			_, _, err := ConverseAs[city](ctx, client, c, WithRepair(true))
			return err
		},
	} {
		t.Run(form, func(t *testing.T) {
			mustRefuse(t, played, call(nil), "conversation")
			unread, _ := ImageFile("/no/such/file")
			mustRefuse(t, played, call(ask().User(Text("a"), unread)), "conversation.messages[1].content[1]")
			mustRefuse(t, played, call(ask().Append(nil)), "conversation.messages[1]")
			mustRefuse(t, played, call(ask().Named("conversations/a").Append(nil)), "conversation.messages[1]")
			frames := VideoFrames(ImageURI("https://a/b"), nil)
			mustRefuse(t, played, call(NewConversation("m").User(frames)),
				"conversation.messages[0].content[0].video.frames.frames[1]")
		})
	}
}

func TestOtherNilArguments(t *testing.T) {
	played := play(t)
	client := played.client(t)
	ctx := t.Context()
	mustRefuse(t, played, last(client.Live(ctx, nil).Events()), "setup")
	mustRefuse(t, played, last(client.Speak(ctx, nil).Events()), "setup")
	mustRefuse(t, played, client.Live(ctx, nil).SendText("a"), "setup")
	session := client.Live(ctx, &dashgatev1.LiveSetup{Model: "m"})
	defer session.Close()
	mustRefuse(t, played, session.Update(nil), "update")

	_, err := client.Upload(ctx, "m", nil)
	mustRefuse(t, played, err, "source")
	var unopened *os.File
	_, err = client.Upload(ctx, "m", unopened)
	mustRefuse(t, played, err, "source")
	for _, read := range []func(io.Reader, ...MediaOption) (*dashgatev1.Content, error){
		AudioReader, ImageReader, VideoReader,
	} {
		_, err = read(nil)
		mustRefuse(t, played, err, "source")
		_, err = read(unopened)
		mustRefuse(t, played, err, "source")
	}
	_, err = client.RunTools(ctx, ask(), []Tool{{Name: "f"}})
	mustRefuse(t, played, err, "tools[0].Function")
	_, err = client.StreamTools(ctx, ask(), []Tool{{Name: "f"}}).Final()
	mustRefuse(t, played, err, "tools[0].Function")
	_, err = NewTool[city, string]("f", "", nil)
	mustRefuse(t, played, err, "function")
	_, _, err = ConverseAs[city](ctx, nil, ask())
	mustRefuse(t, played, err, "client")
	_, _, err = ConverseWithSchema(ctx, client, ask(), OutputSchema[city]{Schema: "{}"})
	mustRefuse(t, played, err, "schema.Parse")
	_, err = FromConn(nil)
	mustRefuse(t, played, err, "conn")
	var unconnected *grpc.ClientConn
	_, err = FromConn(unconnected)
	mustRefuse(t, played, err, "conn")
}

func TestNilOptions(t *testing.T) {
	played := play(t)
	client := played.client(t)
	ctx := t.Context()
	_, err := client.Converse(ctx, ask(), WithRequestID("r"), nil)
	mustRefuse(t, played, err, "options[1]")
	mustRefuse(t, played, last(client.Stream(ctx, ask(), nil).Events()), "options[0]")
	_, err = client.RunTools(ctx, ask(), nil, nil)
	mustRefuse(t, played, err, "options[0]")
	_, err = client.Upload(ctx, "m", strings.NewReader("a"), nil)
	mustRefuse(t, played, err, "options[0]")
	_, err = client.CreateConversation(ctx, "a", nil)
	mustRefuse(t, played, err, "options[0]")
	mustRefuse(t, played, last(client.ListModels(ctx, nil)), "options[0]")
	mustRefuse(t, played, client.CancelCall(ctx, "r", nil), "options[0]")
	mustRefuse(t, played, last(client.Live(ctx, &dashgatev1.LiveSetup{}, nil).Events()), "options[0]")
	_, _, err = ConverseAs[city](ctx, client, ask(), nil)
	mustRefuse(t, played, err, "options[0]")
	_, err = ImageReader(strings.NewReader("a"), nil)
	mustRefuse(t, played, err, "options[0]")
	// Without an error to return, they are ignored.
	equal(t, "type", ImageBytes([]byte("a"), nil, WithMIMEType("image/x")).GetImage().GetMimeType(), "image/x")
	_, err = New(played.address, nil)
	mustRefuse(t, played, err, "options[0]")
	_, err = New(played.address, WithDialOptions(grpc.WithUserAgent("a"), nil))
	mustRefuse(t, played, err, "WithDialOptions: options[1]")
	conn, err := grpc.NewClient(played.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = FromConn(conn, WithAPIKey("a"), nil)
	mustRefuse(t, played, err, "options[1]")
}

func TestZeroValues(t *testing.T) {
	played := play(t)
	conversation := new(Conversation)
	if text, err := json.Marshal(conversation); err != nil || string(text) != "{}" {
		t.Errorf("%s %v", text, err)
	}
	conversation.User(Text("hello?")).Declare(Tool{Name: "f"}).ChooseTool("f").Named("conversations/a")
	if _, err := played.client(t).Converse(t.Context(), conversation); err != nil {
		t.Error(err)
	}
	equal(t, "messages", len(played.conversations[0].GetConversation().GetMessages()), 1)
	for name, zero := range map[string]*Conversation{
		"system": new(Conversation).System("a"), "append": new(Conversation).Append(&Answer{Raw: says("a")}),
		"result": new(Conversation).ToolResult(nil, "a"), "choice": new(Conversation).ChooseTools(1),
	} {
		if proto.Size(zero.Raw) == 0 {
			t.Error(name)
		}
	}
	var none *Answer
	for _, answer := range []*Answer{none, new(Answer)} {
		read := fmt.Sprint(answer.Text(), answer.ReasoningText(), answer.Message() == nil, len(answer.ToolCalls()),
			len(answer.Audio()), answer.FinishReason(), answer.RawFinishReason(), len(answer.Choices()),
			answer.Usage() == nil, answer.Timing() == nil, len(answer.Warnings()), answer.Model(),
			answer.RequestID(), answer.UpstreamRequestID())
		if !strings.Contains(read, "true0 0 FINISH_REASON_UNSPECIFIED") && !strings.Contains(read, "FINISH_REASON") {
			t.Error(read)
		}
	}
}

func TestCopyOfAConversation(t *testing.T) {
	first := ask().Declare(Tool{Name: "f"}).System("a")
	second := first.Copy()
	equal(t, "the same", proto.Equal(first.Raw, second.Raw), true)
	second.User(Text("more")).Raw.Messages[0].Content[0] = Text("other")
	second.Raw.Model = "n"
	equal(t, "messages", len(first.Raw.GetMessages()), 2)
	equal(t, "text", first.Raw.GetMessages()[0].GetContent()[0].GetText(), "hello?")
	equal(t, "model", first.Raw.GetModel(), "m")
	equal(t, "of nothing", new(Conversation).Copy().User(Text("a")).Raw.GetMessages()[0].GetContent()[0].GetText(), "a")
}
