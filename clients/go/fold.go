package dashgate

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// streamedAudio is the MIME type of the audio in a stream's events, unless its file names another
// one: 16-bit little-endian mono at 24 kHz.
const streamedAudio = "audio/pcm"

// fold accumulates the events of a stream. Unset events are of a newer schema and are skipped.
type fold struct {
	// begun is whether there was an event other than a heartbeat.
	begun     bool
	complete  bool
	hasOutput bool
	answer    dashgatev1.ConverseResponse
	drafts    map[int32]*draft
}

// draft is an incomplete answer. Texts are joined when it is assembled, because each append to a
// string copies it.
type draft struct {
	choice *dashgatev1.Choice
	// texts are those of the parts, by position.
	texts     map[int]*strings.Builder
	reasoning strings.Builder
	audio     []*dashgatev1.Audio
	calls     map[int32]*dashgatev1.ToolCall
	arguments map[int32]*strings.Builder
}

// add adds the next event.
func (f *fold) add(event *dashgatev1.ConverseStreamResponse) {
	f.begun = f.begun || event.GetHeartbeat() == nil
	switch event := event.GetEvent().(type) {
	case *dashgatev1.ConverseStreamResponse_Started:
		f.answer.Model = event.Started.GetModel()
		f.answer.RequestId = event.Started.GetRequestId()
		f.answer.UpstreamRequestId = event.Started.GetUpstreamRequestId()
	case *dashgatev1.ConverseStreamResponse_Delta:
		f.hasOutput = true
		f.addDelta(event.Delta)
	case *dashgatev1.ConverseStreamResponse_Completed:
		f.complete = true
		for _, end := range event.Completed.GetChoices() {
			choice := f.draft(end.GetIndex()).choice
			choice.FinishReason = end.GetFinishReason()
			choice.RawFinishReason = end.GetRawFinishReason()
			choice.Extra = end.GetExtra()
		}
		f.answer.Usage = event.Completed.GetUsage()
		f.answer.Timing = event.Completed.GetTiming()
		f.answer.ExtraOutput = event.Completed.GetExtraOutput()
		f.answer.Extra = event.Completed.GetExtra()
		f.answer.Warnings = event.Completed.GetWarnings()
		f.answer.HistoryUsed = event.Completed.GetHistoryUsed()
	}
}

func (f *fold) addDelta(delta *dashgatev1.Delta) {
	switch part := delta.GetPart().(type) {
	case nil:
		return
	case *dashgatev1.Delta_SearchInfo:
		f.answer.SearchInfo = part.SearchInfo
		return
	}
	draft := f.draft(delta.GetChoiceIndex())
	message := draft.choice.GetMessage()
	switch part := delta.GetPart().(type) {
	case *dashgatev1.Delta_Text:
		draft.addText(part.Text, delta.GetStartsPart())
	case *dashgatev1.Delta_ReasoningText:
		draft.reasoning.WriteString(part.ReasoningText)
	case *dashgatev1.Delta_Audio:
		audio := draft.lastAudio(delta.GetStartsPart())
		if data := append(audio.GetData(), part.Audio...); len(data) > 0 {
			audio.Source = &dashgatev1.Audio_Data{Data: data}
		}
	case *dashgatev1.Delta_ToolCall:
		draft.addToolCall(part.ToolCall)
	case *dashgatev1.Delta_Annotation:
		message.Annotations = append(message.Annotations, part.Annotation)
	case *dashgatev1.Delta_ImageUri:
		message.Content = append(message.Content, ImageURI(part.ImageUri))
	case *dashgatev1.Delta_AudioFile:
		draft.lastAudio(delta.GetStartsPart()).File = part.AudioFile
	case *dashgatev1.Delta_Extra:
		draft.addExtra(part.Extra, delta.GetStartsPart())
	case *dashgatev1.Delta_MessageExtra:
		message.Extra = merged(message.Extra, part.MessageExtra)
	case *dashgatev1.Delta_Logprobs:
		if draft.choice.Logprobs == nil {
			draft.choice.Logprobs = new(dashgatev1.Logprobs)
		}
		logprobs := draft.choice.Logprobs
		logprobs.Content = append(logprobs.Content, part.Logprobs.GetContent()...)
		logprobs.Extra = merged(logprobs.Extra, part.Logprobs.GetExtra())
	}
}

// response returns the response so far, which later events do not change.
func (f *fold) response() *dashgatev1.ConverseResponse {
	response := proto.CloneOf(&f.answer)
	for _, index := range slices.Sorted(maps.Keys(f.drafts)) {
		response.Choices = append(response.Choices, f.drafts[index].assembled())
	}
	return response
}

func (f *fold) draft(index int32) *draft {
	if f.drafts == nil {
		f.drafts = make(map[int32]*draft)
	}
	if f.drafts[index] == nil {
		message := &dashgatev1.Message{Role: dashgatev1.Role_ROLE_ASSISTANT}
		f.drafts[index] = &draft{
			choice:    &dashgatev1.Choice{Index: index, Message: message},
			texts:     make(map[int]*strings.Builder),
			calls:     make(map[int32]*dashgatev1.ToolCall),
			arguments: make(map[int32]*strings.Builder),
		}
	}
	return f.drafts[index]
}

func (d *draft) last() *dashgatev1.Content {
	if parts := d.choice.GetMessage().GetContent(); len(parts) > 0 {
		return parts[len(parts)-1]
	}
	return nil
}

func (d *draft) addText(text string, startsPart bool) {
	parts := len(d.choice.GetMessage().GetContent())
	builder := d.texts[parts-1]
	if builder == nil || startsPart {
		builder = new(strings.Builder)
		d.texts[parts] = builder
		d.choice.Message.Content = append(d.choice.Message.Content, Text(""))
	}
	builder.WriteString(text)
}

func (d *draft) addExtra(extra *structpb.Struct, startsPart bool) {
	part := d.last()
	if part == nil || startsPart {
		part = new(dashgatev1.Content)
		d.choice.Message.Content = append(d.choice.Message.Content, part)
	}
	part.Extra = merged(part.Extra, extra)
}

// merged merges fields into a struct; a new value replaces an old one.
func merged(there, extra *structpb.Struct) *structpb.Struct {
	if extra == nil {
		return there
	}
	if there == nil {
		there = &structpb.Struct{Fields: make(map[string]*structpb.Value)}
	}
	maps.Copy(there.Fields, extra.GetFields())
	return there
}

func (d *draft) addToolCall(piece *dashgatev1.ToolCall) {
	call := d.calls[piece.GetIndex()]
	if call == nil {
		call = &dashgatev1.ToolCall{Index: piece.GetIndex()}
		d.calls[piece.GetIndex()] = call
		d.arguments[piece.GetIndex()] = new(strings.Builder)
	}
	call.Id = cmp.Or(call.Id, piece.GetId())
	call.Type = cmp.Or(call.Type, piece.GetType())
	call.Name += piece.GetName()
	call.Extra = merged(call.Extra, piece.GetExtra())
	d.arguments[piece.GetIndex()].WriteString(piece.GetArguments())
}

// assembled returns the choice so far.
func (d *draft) assembled() *dashgatev1.Choice {
	choice := proto.CloneOf(d.choice)
	message := choice.GetMessage()
	message.ReasoningText = d.reasoning.String()
	for at, text := range d.texts {
		message.Content[at].Kind = &dashgatev1.Content_Text{Text: text.String()}
	}
	for _, index := range slices.Sorted(maps.Keys(d.calls)) {
		call := proto.CloneOf(d.calls[index])
		call.Arguments = d.arguments[index].String()
		message.ToolCalls = append(message.ToolCalls, call)
	}
	for _, audio := range d.audio {
		audio = proto.CloneOf(audio)
		if audio.Source != nil {
			audio.MimeType = cmp.Or(namedType(audio.GetFile()), streamedAudio)
		} else if uri := audio.GetFile().GetUri(); uri != "" {
			audio.Source = &dashgatev1.Audio_Uri{Uri: uri}
		}
		message.Content = append(message.Content, &dashgatev1.Content{
			Kind: &dashgatev1.Content_Audio{Audio: audio},
		})
	}
	return choice
}

// lastAudio returns the incomplete audio part.
func (d *draft) lastAudio(startsPart bool) *dashgatev1.Audio {
	if startsPart || len(d.audio) == 0 {
		d.audio = append(d.audio, new(dashgatev1.Audio))
	}
	return d.audio[len(d.audio)-1]
}

// namedType returns the MIME type that the gateway names because it is not that of streamed audio.
func namedType(file *dashgatev1.AudioFile) string {
	named := file.GetExtra().GetFields()["mime_type"].GetStringValue()
	if !strings.HasPrefix(named, "audio/") {
		return ""
	}
	return named
}
