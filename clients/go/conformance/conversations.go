package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/dashgate/dashgate/clients/go"
)

func (p *player) dialogue(ctx context.Context) (err error) {
	conversation := dashgate.NewConversation(p.call.Model)
	if id, isStored := strings.CutPrefix(p.call.Name, "conversations/"); isStored {
		if _, err := p.client.CreateConversation(ctx, id, dashgate.WithModel(p.call.Model)); err != nil {
			return err
		}
		conversation = dashgate.NewConversation("").Named(p.call.Name)
		defer func() { p.result.LastTurn = conversation.LastTurn() }()
	}
	if p.call.System != "" {
		conversation.System(p.call.System)
	}
	defer func() { err = errors.Join(err, p.keep(conversation)) }()
	options, err := p.options()
	if err != nil {
		return err
	}
	for _, turn := range p.call.Turns {
		parts, err := contents(turn, "")
		if err != nil {
			return err
		}
		conversation.User(parts...)
		answer, err := p.ask(ctx, conversation, options)
		if err := p.answered(answer, err); err != nil {
			return err
		}
		conversation.Append(answer)
	}
	return nil
}

func (p *player) ask(
	ctx context.Context, conversation *dashgate.Conversation, options []dashgate.CallOption,
) (*dashgate.Answer, error) {
	if p.call.Stream {
		return p.client.Stream(ctx, conversation, options...).Final()
	}
	return p.client.Converse(ctx, conversation, options...)
}

func (p *player) tools(ctx context.Context) (err error) {
	conversation := dashgate.NewConversation(p.call.Model).User(dashgate.Text(p.call.Question))
	defer func() { err = errors.Join(err, p.keep(conversation)) }()
	p.result.ToolCalls = []toolCall{}
	var lock sync.Mutex
	var tools []dashgate.Tool
	for _, spec := range p.call.Tools {
		tools = append(tools, dashgate.Tool{
			Name: spec.Name, Description: spec.Description, Parameters: spec.Parameters,
			Function: func(_ context.Context, arguments string) (string, error) {
				lock.Lock()
				defer lock.Unlock()
				p.result.ToolCalls = append(p.result.ToolCalls, toolCall{spec.Name, arguments})
				return p.call.Results[spec.Name], nil
			},
		})
	}
	options := []dashgate.CallOption{dashgate.WithParallel(p.call.Parallel)}
	if p.call.MaxRounds > 0 {
		options = append(options, dashgate.WithMaxRounds(p.call.MaxRounds))
	}
	if p.call.Stream {
		return p.toolStream(p.client.StreamTools(ctx, conversation, tools, options...))
	}
	return p.answered(p.client.RunTools(ctx, conversation, tools, options...))
}

func (p *player) toolStream(stream *dashgate.ToolStream) error {
	p.result.Events = []json.RawMessage{}
	for event, err := range stream.Events() {
		if err != nil {
			return err
		}
		if err := keep(&p.result.Events, event); err != nil {
			return err
		}
	}
	return p.answered(stream.Final())
}

// refusedMessages is the error of a list of messages.
type refusedMessages struct{ error }

func (p *player) messages() error {
	conversation, err := dashgate.FromMessages(p.call.Model, p.call.Messages)
	if err != nil {
		return refusedMessages{err}
	}
	written, err := json.Marshal(conversation)
	if err != nil {
		return err
	}
	read := new(dashgate.Conversation)
	if err := json.Unmarshal(written, read); err != nil {
		return err
	}
	return p.keep(read)
}

// city is the type of structured answers.
type city struct {
	Name   string   `json:"name"`
	People int      `json:"people"`
	Rivers []string `json:"rivers"`
}

func (p *player) structured(ctx context.Context) error {
	conversation := dashgate.NewConversation(p.call.Model).User(dashgate.Text(p.call.Question))
	value, answer, err := dashgate.ConverseAs[city](
		ctx, p.client, conversation, dashgate.WithRepair(p.call.Repair))
	if err != nil {
		return err
	}
	p.result.Value = value
	return p.answered(answer, nil)
}

func (p *player) keep(conversation *dashgate.Conversation) (err error) {
	p.result.Conversation, err = plainly(conversation.Raw)
	return err
}
