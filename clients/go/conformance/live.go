package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// piece is the size in which a file of audio is sent: 100 ms at 16 kHz.
const piece = 3200

// session is what both kinds of sessions have.
type session interface {
	SendText(string) error
	Commit() error
	Clear() error
	Finish() error
	Close()
}

func (p *player) live(ctx context.Context) error {
	setup := new(dashgatev1.LiveSetup)
	if err := protojson.Unmarshal(p.call.Setup, setup); err != nil {
		return err
	}
	options, err := p.options()
	if err != nil {
		return err
	}
	session := p.client.Live(ctx, setup, options...)
	defer session.Close()
	var lastCall string
	read := func(last string) error {
		return read(session.Recv, last, func(event *dashgatev1.ConverseLiveResponse) error {
			if id := event.GetResponseDelta().GetToolCall().GetId(); id != "" {
				lastCall = id
			}
			return keep(&p.result.Live, event)
		})
	}
	for _, next := range p.call.Steps {
		kind, value, err := only(next)
		if err != nil {
			return err
		}
		switch kind {
		case "take_over":
			other := p.client.Live(ctx, &dashgatev1.LiveSetup{Resume: session.Resumption()})
			defer other.Close()
			_, err = other.Recv()
		case "await", "text", "commit", "clear", "finish", "close":
			err = step(session, kind, value, read)
		default:
			err = p.send(session, kind, value, lastCall)
		}
		if err != nil {
			return err
		}
	}
	return read("")
}

func (p *player) speak(ctx context.Context) error {
	setup := new(dashgatev1.SynthesisSetup)
	if err := protojson.Unmarshal(p.call.Setup, setup); err != nil {
		return err
	}
	options, err := p.options()
	if err != nil {
		return err
	}
	session := p.client.Speak(ctx, setup, options...)
	defer session.Close()
	read := func(last string) error {
		return read(session.Recv, last, func(event *dashgatev1.SynthesizeLiveResponse) error {
			return keep(&p.result.Speech, event)
		})
	}
	for _, next := range p.call.Steps {
		kind, value, err := only(next)
		if err == nil {
			err = step(session, kind, value, read)
		}
		if err != nil {
			return err
		}
	}
	return read("")
}

// only returns the one key of a step, and its value.
func only(step map[string]json.RawMessage) (string, json.RawMessage, error) {
	if len(step) != 1 {
		return "", nil, fmt.Errorf("a step has %d keys", len(step))
	}
	for kind, value := range step {
		return kind, value, nil
	}
	return "", nil, nil
}

// step does a step that both kinds of sessions have.
func step(session session, kind string, value json.RawMessage, read func(string) error) error {
	switch kind {
	case "await":
		last, err := text(value)
		if err != nil {
			return err
		}
		return read(last)
	case "text":
		words, err := text(value)
		if err != nil {
			return err
		}
		return session.SendText(words)
	case "commit":
		return session.Commit()
	case "clear":
		return session.Clear()
	case "finish":
		return session.Finish()
	case "close":
		session.Close()
		return nil
	default:
		return fmt.Errorf("unknown step: %q", kind)
	}
}

// send does a step of a conversation.
func (p *player) send(session *dashgate.LiveSession, kind string, value json.RawMessage, lastCall string) error {
	switch kind {
	case "audio_file":
		audio, err := file(value)
		for err == nil && len(audio) > 0 {
			next := audio[:min(piece, len(audio))]
			audio = audio[len(next):]
			err = session.SendAudio(next)
		}
		return err
	case "image_file":
		image, err := file(value)
		if err != nil {
			return err
		}
		return session.SendImage(image)
	case "create_response":
		var create struct {
			Instructions string
			Modalities   []string
		}
		if err := json.Unmarshal(value, &create); err != nil {
			return err
		}
		return session.CreateResponse(create.Instructions, create.Modalities...)
	case "cancel_response":
		return session.CancelResponse()
	case "tool_result":
		var result struct {
			ID     string `json:"tool_call_id"`
			Output string `json:"output"`
		}
		if err := json.Unmarshal(value, &result); err != nil {
			return err
		}
		if result.ID == "" {
			result.ID = lastCall
		}
		return session.SendToolResult(result.ID, result.Output)
	case "update":
		update := new(dashgatev1.UpdateSession)
		if err := protojson.Unmarshal(value, update); err != nil {
			return err
		}
		return session.Update(update)
	case "delete_item":
		var item struct {
			ID string `json:"item_id"`
		}
		if err := json.Unmarshal(value, &item); err != nil {
			return err
		}
		return session.DeleteItem(item.ID)
	default:
		return fmt.Errorf("unknown step: %q", kind)
	}
}

// read keeps the events up to one of this kind, or to the end.
func read[Event proto.Message](recv func() (Event, error), last string, keep func(Event) error) error {
	for {
		event, err := recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := keep(event); err != nil {
			return err
		}
		message := event.ProtoReflect()
		oneof := message.Descriptor().Oneofs().ByName("event")
		if field := message.WhichOneof(oneof); field != nil && field.Name() == protoreflect.Name(last) {
			return nil
		}
	}
}

func keep(list *[]json.RawMessage, event proto.Message) error {
	plain, err := plainly(event)
	if err == nil {
		*list = append(*list, plain)
	}
	return err
}

func text(value json.RawMessage) (text string, err error) {
	err = json.Unmarshal(value, &text)
	return text, err
}

func file(value json.RawMessage) ([]byte, error) {
	path, err := text(value)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
