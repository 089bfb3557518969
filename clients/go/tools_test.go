package dashgate

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func TestToolLoop(t *testing.T) {
	played := play(t)
	turns := []*dashgatev1.ConverseResponse{calls("double"), calls(`<no"pe>`), says("2")}
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
	equal(t, "results", results, []string{"2", `{"error":"there is no tool <no\"pe>"}`})
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
	conversation := ask()
	if _, err := client.RunTools(t.Context(), conversation, []Tool{{Name: "f", Function: fail}}); err != broken {
		t.Error(err)
	}
	messages := conversation.Raw.GetMessages()
	last := messages[len(messages)-1]
	equal(t, "result", last.GetContent()[0].GetText(), `{"error":"the function failed"}`)
}

// roundOf returns the events of a round that calls these tools, each with its name as its id.
func roundOf(names ...string) part {
	events := []*dashgatev1.ConverseStreamResponse{started()}
	for at, name := range names {
		call := &dashgatev1.ToolCall{Index: int32(at), Id: name, Name: name, Arguments: "{}"}
		events = append(events, of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_ToolCall{ToolCall: call}}))
	}
	return part{events: append(events, completed())}
}

// results returns the results of tools in a conversation, by the ids of their calls.
func results(conversation *Conversation) []string {
	var all []string
	for _, message := range conversation.Raw.GetMessages() {
		if id := message.GetToolCallId(); id != "" {
			all = append(all, id+"="+message.GetContent()[0].GetText())
		}
	}
	return all
}

func TestStreamToolsHasTheEventsOfAllRounds(t *testing.T) {
	played := play(t)
	played.parts = []part{roundOf("f"), {events: played.events}}
	tool := Tool{Name: "f", Function: func(context.Context, string) (string, error) { return "1", nil }}
	conversation := ask()
	stream := played.client(t).StreamTools(t.Context(), conversation, []Tool{tool}, WithRequestID("mine"))
	var kinds []string
	for event, err := range stream.Events() {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, strings.TrimPrefix(
			string(event.ProtoReflect().WhichOneof(event.ProtoReflect().Descriptor().Oneofs().Get(0)).Name()), "."))
	}
	equal(t, "events", kinds, []string{"started", "delta", "completed", "started", "delta", "delta", "completed"})
	answer, err := stream.Final()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "text", answer.Text(), "hello")
	equal(t, "results", results(conversation), []string{"f=1"})
	if played.names[0] != "mine" || len(played.names[1]) != 36 {
		t.Error("each round has its own request id:", played.names)
	}
}

func TestStreamToolsReportsErrors(t *testing.T) {
	broken := errors.New("broken")
	fail := Tool{Name: "f", Function: func(context.Context, string) (string, error) { return "", broken }}
	played := play(t)
	played.parts = []part{roundOf("f", "g")}
	conversation := ask()
	stream := played.client(t).StreamTools(t.Context(), conversation, []Tool{fail})
	for range 2 {
		if _, err := stream.Final(); err != broken {
			t.Error(err)
		}
	}
	equal(t, "results", results(conversation), []string{
		`f={"error":"the function failed"}`, `g={"error":"the function was not run"}`,
	})
	stream.Close()
}

func TestLeavingAStreamOfToolsCancels(t *testing.T) {
	played := play(t)
	played.events, played.silent = played.events[:2], true
	stream := played.client(t).StreamTools(t.Context(), ask(), nil)
	for range stream.TextDeltas() {
		break
	}
	within(t, "the call ended", played.ended)
	equal(t, "partial", stream.Partial().Text(), "hel")
	equal(t, "headers", stream.Headers()["content-type"], "application/grpc")
	_, err := stream.Final()
	equal(t, "code", failure(t, err).Code, codes.Canceled)
}

func TestParallelToolsRunAtTheSameTime(t *testing.T) {
	played := play(t)
	played.parts = []part{roundOf("a", "b"), {events: played.events}}
	var both sync.WaitGroup
	both.Add(2)
	meet := func(result string) func(context.Context, string) (string, error) {
		return func(context.Context, string) (string, error) {
			// Waits for ever if the other one does not run.
			both.Done()
			both.Wait()
			return result, nil
		}
	}
	tools := []Tool{{Name: "a", Function: meet("1")}, {Name: "b", Function: meet("2")}}
	conversation := ask()
	if _, err := played.client(t).StreamTools(
		t.Context(), conversation, tools, WithParallel(true)).Final(); err != nil {
		t.Fatal(err)
	}
	equal(t, "results", results(conversation), []string{"a=1", "b=2"})
}

func TestParallelToolsThatFailAreAnswered(t *testing.T) {
	played := play(t)
	played.parts = []part{roundOf("a", "b", "c")}
	first := errors.New("first")
	function := func(result string, err error) func(context.Context, string) (string, error) {
		return func(context.Context, string) (string, error) { return result, err }
	}
	tools := []Tool{
		{Name: "a", Function: function("1", nil)}, {Name: "b", Function: function("", first)},
		{Name: "c", Function: function("", errors.New("second"))},
	}
	conversation := ask()
	_, err := played.client(t).StreamTools(t.Context(), conversation, tools, WithParallel(true)).Final()
	if err != first {
		t.Error(err)
	}
	equal(t, "results", results(conversation), []string{
		"a=1", `b={"error":"the function failed"}`, `c={"error":"the function failed"}`,
	})
}

type weatherArguments struct {
	City  string `json:"city" description:"The name of the city."`
	Unit  string `json:"unit,omitempty" enum:"celsius,fahrenheit"`
	Hours []int  `json:"hours"`
}

func TestTypedTool(t *testing.T) {
	tool, err := NewTool("weather", "The weather.",
		func(_ context.Context, asked weatherArguments) (map[string]int, error) {
			return map[string]int{asked.City: asked.Hours[0]}, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "parameters", tool.Parameters, `{"type":"object","properties":{`+
		`"city":{"type":"string","description":"The name of the city."},`+
		`"unit":{"type":"string","enum":["celsius","fahrenheit"]},`+
		`"hours":{"type":"array","items":{"type":"integer"}}},`+
		`"required":["city","hours"],"additionalProperties":false}`)
	result, err := tool.Function(t.Context(), `{"city":"Oslo","hours":[7]}`)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "result", result, `{"Oslo":7}`)
	for arguments, want := range map[string]string{
		`{"city":"Oslo"}`: `{"error":"the arguments are invalid: hours is missing"}`,
		"":                `{"error":"the arguments are invalid: city is missing"}`,
	} {
		if result, err = tool.Function(t.Context(), arguments); err != nil || result != want {
			t.Error(result, err)
		}
	}
	text, err := NewTool("echo", "Echoes.", func(_ context.Context, asked struct{ Text string }) (string, error) {
		return asked.Text, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if result, err = text.Function(t.Context(), `{"Text":"a \"b\""}`); err != nil || result != `a "b"` {
		t.Error(result, err)
	}
	if _, err := NewTool("x", "", func(context.Context, int) (string, error) { return "", nil }); err == nil {
		t.Error("arguments must be a struct")
	}
}
