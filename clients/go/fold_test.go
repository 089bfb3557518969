package dashgate

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func started() *dashgatev1.ConverseStreamResponse {
	return &dashgatev1.ConverseStreamResponse{Event: &dashgatev1.ConverseStreamResponse_Started{
		Started: &dashgatev1.Started{Model: "m", RequestId: "r", UpstreamRequestId: "u"},
	}}
}

func completed() *dashgatev1.ConverseStreamResponse {
	end := &dashgatev1.ChoiceEnd{FinishReason: dashgatev1.FinishReason_FINISH_REASON_STOP, RawFinishReason: "stop"}
	return &dashgatev1.ConverseStreamResponse{Event: &dashgatev1.ConverseStreamResponse_Completed{
		Completed: &dashgatev1.Completed{Choices: []*dashgatev1.ChoiceEnd{end}},
	}}
}

func of(choice int32, delta *dashgatev1.Delta) *dashgatev1.ConverseStreamResponse {
	delta.ChoiceIndex = choice
	return &dashgatev1.ConverseStreamResponse{Event: &dashgatev1.ConverseStreamResponse_Delta{Delta: delta}}
}

func delta(text string) *dashgatev1.ConverseStreamResponse {
	return of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_Text{Text: text}})
}

func sum(t *testing.T, events ...*dashgatev1.ConverseStreamResponse) *Answer {
	t.Helper()
	var adding fold
	for _, event := range append(events, completed()) {
		adding.add(event)
	}
	if !adding.complete {
		t.Fatal("not complete")
	}
	// Called repeatedly, as a caller may do.
	adding.response()
	return &Answer{Raw: adding.response()}
}

func TestTextsJoinAndChoicesAreToldApart(t *testing.T) {
	other := of(1, &dashgatev1.Delta{Part: &dashgatev1.Delta_Text{Text: "z"}})
	answer := sum(t, other, started(), delta("a"), delta(""), delta("b"))
	equal(t, "text", answer.Text(), "ab")
	equal(t, "other", answer.Choices()[1].GetMessage().GetContent()[0].GetText(), "z")
	equal(t, "names", []string{answer.Model(), answer.RequestID(), answer.UpstreamRequestID()}, []string{"m", "r", "u"})
	equal(t, "role", answer.Message().GetRole(), dashgatev1.Role_ROLE_ASSISTANT)
	equal(t, "end", answer.RawFinishReason(), "stop")
}

func TestSoundComesLast(t *testing.T) {
	bytes := func(data string) *dashgatev1.ConverseStreamResponse {
		return of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_Audio{Audio: []byte(data)}})
	}
	file := of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_AudioFile{AudioFile: &dashgatev1.AudioFile{Uri: "https://x"}}})
	answer := sum(t, bytes("ab"), file, bytes("c"), delta("t"))
	equal(t, "audio", string(answer.Audio()), "abc")
	equal(t, "parts", len(answer.Message().GetContent()), 2)
	sound := answer.Message().GetContent()[1].GetAudio()
	equal(t, "sound", []string{sound.GetMimeType(), sound.GetFile().GetUri()}, []string{"audio/pcm", "https://x"})

	sound = sum(t, file).Message().GetContent()[0].GetAudio()
	equal(t, "file", []string{sound.GetMimeType(), sound.GetUri()}, []string{"", "https://x"})
}

func TestAudioHasTheTypeThatItsFileNames(t *testing.T) {
	bytes := of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_Audio{Audio: []byte("ab")}})
	empty := of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_Audio{}})
	types := func(named any, events ...*dashgatev1.ConverseStreamResponse) []string {
		extra, err := structpb.NewStruct(map[string]any{"mime_type": named})
		if err != nil {
			t.Fatal(err)
		}
		file := &dashgatev1.AudioFile{Uri: "https://x", Extra: extra}
		events = append([]*dashgatev1.ConverseStreamResponse{
			of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_AudioFile{AudioFile: file}}),
		}, events...)
		var types []string
		for _, part := range sum(t, events...).Message().GetContent() {
			types = append(types, part.GetAudio().GetMimeType())
			equal(t, "file", part.GetAudio().GetFile() != nil, len(types) == 1)
		}
		return types
	}
	another := of(0, &dashgatev1.Delta{StartsPart: true, Part: &dashgatev1.Delta_Audio{Audio: []byte("c")}})
	equal(t, "a file", types("audio/mpeg", bytes, another), []string{"audio/mpeg", "audio/pcm"})
	rate := "audio/pcm;rate=44100;channels=2"
	equal(t, "samples", types(rate, bytes), []string{rate})
	for _, named := range []any{"", "text/plain", "audio", 1, true, nil} {
		equal(t, "no type", types(named, bytes), []string{"audio/pcm"})
	}
	equal(t, "no bytes", types("audio/mpeg", empty), []string{""})
}

func TestToolCallsJoinByIndex(t *testing.T) {
	piece := func(call *dashgatev1.ToolCall) *dashgatev1.ConverseStreamResponse {
		return of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_ToolCall{ToolCall: call}})
	}
	answer := sum(t,
		piece(&dashgatev1.ToolCall{Index: 1, Id: "y", Name: "g", Arguments: "{"}),
		piece(&dashgatev1.ToolCall{Index: 0, Id: "x", Name: "f", Arguments: "["}),
		piece(&dashgatev1.ToolCall{Index: 1, Id: "later", Arguments: "}"}),
		piece(&dashgatev1.ToolCall{Index: 0, Arguments: "]"}))
	var got []string
	for _, call := range answer.ToolCalls() {
		got = append(got, call.GetId()+call.GetName()+call.GetArguments())
	}
	equal(t, "calls", got, []string{"xf[]", "yg{}"})
}

func TestExtraJoinsTheLastPart(t *testing.T) {
	extra := func(key, value string) *dashgatev1.ConverseStreamResponse {
		fields := map[string]*structpb.Value{key: structpb.NewStringValue(value)}
		return of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_Extra{Extra: &structpb.Struct{Fields: fields}}})
	}
	image := of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_ImageUri{ImageUri: "https://x"}})
	content := sum(t, extra("k", "0"), delta("a"), extra("k", "1"), extra("k", "2"), image, delta("b")).Message().GetContent()
	equal(t, "parts", len(content), 4)
	equal(t, "alone", content[0].GetKind() == nil && content[0].GetExtra() != nil, true)
	equal(t, "joined", content[1].GetExtra().AsMap(), map[string]any{"k": "2"})
	equal(t, "picture", content[2].GetImage().GetUri(), "https://x")
}

func TestWhatIsOfANewerSchemaIsSkipped(t *testing.T) {
	var event dashgatev1.ConverseStreamResponse
	if err := proto.Unmarshal([]byte("\x9a\x06\x00"), &event); err != nil {
		t.Fatal(err)
	}
	var unknown dashgatev1.Delta
	if err := proto.Unmarshal([]byte("\x9a\x06\x00"), &unknown); err != nil {
		t.Fatal(err)
	}
	answer := sum(t, &event, of(5, &unknown), delta("a"))
	equal(t, "text", answer.Text(), "a")
	equal(t, "choices", len(answer.Choices()), 1)
}

func TestEmptyAnswer(t *testing.T) {
	answer := Answer{Raw: new(dashgatev1.ConverseResponse)}
	equal(t, "text", answer.Text()+answer.ReasoningText()+answer.RawFinishReason(), "")
	equal(t, "message", answer.Message(), nil)
	equal(t, "conversation", len(ask().Append(&answer).Raw.GetMessages()), 1)
}
