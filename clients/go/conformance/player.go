package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/dashgate/dashgate/clients/go"
)

type player struct {
	client *dashgate.Client
	call   request
	cancel context.CancelFunc
	result result
}

func (p *player) play(ctx context.Context) error {
	switch p.call.Do {
	case "converse":
		return p.converse(ctx)
	case "stream":
		return p.stream(ctx)
	case "deltas":
		return p.deltas(ctx)
	case "many":
		return p.many(ctx)
	case "dialogue":
		return p.dialogue(ctx)
	case "tools":
		return p.tools(ctx)
	case "upload":
		return p.upload(ctx)
	case "models":
		return p.models(ctx)
	case "model":
		return p.model(ctx)
	case "cancel_call":
		return p.client.CancelCall(ctx, p.call.RequestID)
	case "sniff":
		return p.sniff()
	case "stored":
		return p.stored(ctx)
	case "messages":
		return p.messages()
	case "structured":
		return p.structured(ctx)
	case "live":
		return p.live(ctx)
	case "speak":
		return p.speak(ctx)
	default:
		return fmt.Errorf("unknown call: %q", p.call.Do)
	}
}

func (p *player) converse(ctx context.Context) error {
	conversation, options, err := p.question()
	if err != nil {
		return err
	}
	answer, err := p.client.Converse(ctx, conversation, options...)
	return p.answered(answer, err)
}

func (p *player) stream(ctx context.Context) error {
	conversation, options, err := p.question()
	if err != nil {
		return err
	}
	p.result.Events = []json.RawMessage{}
	stream := p.client.Stream(ctx, conversation, options...)
	for event, err := range stream.Events() {
		if err != nil {
			return p.failed(stream, err)
		}
		plain, err := plainly(event)
		if err != nil {
			return err
		}
		p.result.Events = append(p.result.Events, plain)
		if len(p.result.Events) == p.call.Cancel.AfterEvents {
			p.cancel()
		}
	}
	return p.answered(stream.Final())
}

func (p *player) deltas(ctx context.Context) error {
	conversation, options, err := p.question()
	if err != nil {
		return err
	}
	stream := p.client.Stream(ctx, conversation, options...)
	p.result.Deltas = []string{}
	for text, err := range stream.TextDeltas() {
		if err != nil {
			return p.failed(stream, err)
		}
		p.result.Deltas = append(p.result.Deltas, text)
		if len(p.result.Deltas) == p.call.Cancel.AfterEvents {
			p.cancel()
		}
	}
	return p.answered(stream.Final())
}

func (p *player) many(ctx context.Context) error {
	conversation, options, err := p.question()
	if err != nil {
		return err
	}
	answers := make([]*dashgate.Answer, p.call.Count)
	faults := make([]error, p.call.Count)
	var all sync.WaitGroup
	for at := range p.call.Count {
		all.Go(func() {
			answers[at], faults[at] = p.client.Stream(ctx, conversation, options...).Final()
		})
	}
	all.Wait()
	for at := range p.call.Count {
		if err := p.answered(answers[at], faults[at]); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) upload(ctx context.Context) error {
	var options []dashgate.CallOption
	if p.call.MIMEType != "" {
		options = append(options, dashgate.WithMIMEType(p.call.MIMEType))
	}
	if p.call.Name != "" {
		options = append(options, dashgate.WithName(p.call.Name))
	}
	uploaded, err := p.client.UploadFile(ctx, p.call.Model, p.call.File, options...)
	if err != nil {
		return err
	}
	plain, err := plainly(uploaded)
	if err != nil {
		return err
	}
	p.result.Uploads = append(p.result.Uploads, plain)
	if p.call.Then == nil {
		return nil
	}
	parts, err := contents(p.call.Then, uploaded.GetUri())
	if err != nil {
		return err
	}
	conversation := dashgate.NewConversation(p.call.Model).User(parts...)
	return p.answered(p.client.Converse(ctx, conversation))
}

func (p *player) models(ctx context.Context) error {
	for model, err := range p.client.ListModels(ctx, dashgate.WithPageSize(p.call.PageSize)) {
		if err := p.listed(model, err); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) model(ctx context.Context) error {
	return p.listed(p.client.GetModel(ctx, p.call.Name))
}

func (p *player) sniff() error {
	for _, vector := range p.call.Vectors {
		part, err := dashgate.AudioFile(vector["file"])
		if err != nil {
			return err
		}
		p.result.MIMETypes = append(p.result.MIMETypes, part.GetAudio().GetMimeType())
	}
	return nil
}
