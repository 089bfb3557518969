package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// storedStep has what the steps take.
type storedStep struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	Model        *string           `json:"model"`
	Labels       map[string]string `json:"labels"`
	TTL          *int64            `json:"ttl_seconds"`
	PageSize     int32             `json:"page_size"`
	NewestFirst  bool              `json:"newest_first"`
	IncludeMedia bool              `json:"include_media"`
	LastTurn     *int32            `json:"last_turn"`
	RequestID    string            `json:"request_id"`
	Conversation json.RawMessage   `json:"conversation"`
	ExpectedTurn *int32            `json:"expected_turn"`
	History      json.RawMessage   `json:"history"`
}

func (s *storedStep) options() []dashgate.CallOption {
	options := []dashgate.CallOption{
		dashgate.WithPageSize(s.PageSize),
		dashgate.WithNewestFirst(s.NewestFirst),
		dashgate.WithIncludeMedia(s.IncludeMedia),
	}
	if s.Model != nil {
		options = append(options, dashgate.WithModel(*s.Model))
	}
	if s.Labels != nil {
		options = append(options, dashgate.WithLabels(s.Labels))
	}
	if s.TTL != nil {
		options = append(options, dashgate.WithTTL(time.Duration(*s.TTL)*time.Second))
	}
	if s.LastTurn != nil {
		options = append(options, dashgate.WithLastTurn(*s.LastTurn))
	}
	return options
}

func (p *player) stored(ctx context.Context) error {
	for _, next := range p.call.Steps {
		kind, raw, err := only(next)
		if err != nil {
			return err
		}
		var step storedStep
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&step); err != nil {
			return err
		}
		key, value, err := p.storedStep(ctx, kind, &step)
		if err != nil {
			return err
		}
		p.result.Stored = append(p.result.Stored, map[string]any{key: value})
	}
	return nil
}

// storedStep returns the result of a step, and its key.
func (p *player) storedStep(ctx context.Context, kind string, step *storedStep) (string, any, error) {
	options := step.options()
	switch kind {
	case "create":
		return conversationOf(p.client.CreateConversation(ctx, step.ID, options...))
	case "get":
		return conversationOf(p.client.GetConversation(ctx, step.Name))
	case "update":
		return conversationOf(p.client.UpdateConversation(ctx, step.Name, options...))
	case "fork":
		return conversationOf(p.client.ForkConversation(ctx, step.Name, step.ID, options...))
	case "list":
		list, err := listOf(p.client.ListConversations(ctx, options...))
		return "conversations", list, err
	case "turns":
		list, err := listOf(p.client.ListTurns(ctx, step.Name, options...))
		return "turns", list, err
	case "delete":
		return "deleted", true, p.client.DeleteConversation(ctx, step.Name)
	case "delete_turn":
		return "deleted", true, p.client.DeleteTurn(ctx, step.Name)
	case "cancel_turn":
		cancelled, err := p.client.CancelTurn(ctx, step.Name, step.RequestID)
		return "cancelled", cancelled.GetRequestId(), err
	case "converse":
		answer, err := p.storedTurn(ctx, step)
		return "answer", answer, err
	default:
		return "", nil, fmt.Errorf("unknown step: %q", kind)
	}
}

func (p *player) storedTurn(ctx context.Context, step *storedStep) (*answer, error) {
	conversation := &dashgate.Conversation{Raw: new(dashgatev1.Conversation)}
	if err := protojson.Unmarshal(step.Conversation, conversation.Raw); err != nil {
		return nil, err
	}
	options, err := turnOptions(step.ExpectedTurn, step.History)
	if err != nil {
		return nil, err
	}
	answer, err := p.client.Converse(ctx, conversation, options...)
	if err != nil {
		return nil, err
	}
	return answerOf(answer)
}

func conversationOf(conversation *dashgatev1.Conversation, err error) (string, any, error) {
	if err != nil {
		return "", nil, err
	}
	plain, err := plainly(conversation)
	return "conversation", plain, err
}

func listOf[Item proto.Message](items iter.Seq2[Item, error]) ([]json.RawMessage, error) {
	list := []json.RawMessage{}
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		if err := keep(&list, item); err != nil {
			return nil, err
		}
	}
	return list, nil
}
