// Command conformance runs one case of tests/conformance: a job on standard input, a result on
// standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func main() {
	if err := play(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(2)
	}
}

func play(input io.Reader, output io.Writer) error {
	decoder := json.NewDecoder(input)
	decoder.DisallowUnknownFields()
	var job job
	if err := decoder.Decode(&job); err != nil {
		return err
	}
	client, err := connect(job)
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if after := job.Call.Cancel.AfterMs; after > 0 {
		timer := time.AfterFunc(milliseconds(after), cancel)
		defer timer.Stop()
	}
	begun := time.Now()
	player := player{client: client, call: job.Call, cancel: cancel}
	if err := player.play(ctx); err != nil {
		var failed *dashgate.Error
		if !errors.As(err, &failed) {
			return err
		}
		if player.result.Error, err = failureOf(failed); err != nil {
			return err
		}
	}
	player.result.Elapsed = time.Since(begun).Milliseconds()
	encoder := json.NewEncoder(output)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(player.result)
}

func connect(job job) (*dashgate.Client, error) {
	var options []dashgate.ClientOption
	if job.Options.APIKey != nil {
		options = append(options, dashgate.WithAPIKey(*job.Options.APIKey))
	}
	if files := job.Options.TLS; files != nil {
		config, err := dashgate.TLSFromFiles(files.CA, files.Cert, files.Key, files.ServerName)
		if err != nil {
			return nil, err
		}
		options = append(options, dashgate.WithTLS(config))
	}
	if limit := job.Options.Timeout; limit != nil {
		options = append(options, dashgate.WithTimeout(milliseconds(*limit)))
	}
	if limit := job.Options.IdleTimeout; limit != nil {
		options = append(options, dashgate.WithIdleTimeout(milliseconds(*limit)))
	}
	if job.Options.Metadata != nil {
		options = append(options, dashgate.WithMetadata(job.Options.Metadata))
	}
	return dashgate.New(job.Target, options...)
}

func milliseconds(count float64) time.Duration {
	return time.Duration(count * float64(time.Millisecond))
}

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
			return err
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
			return err
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

func (p *player) dialogue(ctx context.Context) (err error) {
	conversation := dashgate.NewConversation(p.call.Model)
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
	var tools []dashgate.Tool
	for _, spec := range p.call.Tools {
		tools = append(tools, dashgate.Tool{
			Name: spec.Name, Description: spec.Description, Parameters: spec.Parameters,
			Function: func(_ context.Context, arguments string) (string, error) {
				p.result.ToolCalls = append(p.result.ToolCalls, toolCall{spec.Name, arguments})
				return p.call.Results[spec.Name], nil
			},
		})
	}
	var options []dashgate.CallOption
	if p.call.MaxRounds > 0 {
		options = append(options, dashgate.WithMaxRounds(p.call.MaxRounds))
	}
	return p.answered(p.client.RunTools(ctx, conversation, tools, options...))
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

// question returns the conversation and the options of converse, stream, deltas and many.
func (p *player) question() (*dashgate.Conversation, []dashgate.CallOption, error) {
	conversation := new(dashgate.Conversation)
	conversation.Raw = new(dashgatev1.Conversation)
	if p.call.Conversation != nil {
		if err := protojson.Unmarshal(p.call.Conversation, conversation.Raw); err != nil {
			return nil, nil, err
		}
	}
	options, err := p.options()
	return conversation, options, err
}

func (p *player) options() ([]dashgate.CallOption, error) {
	var options []dashgate.CallOption
	if p.call.Options != nil {
		generation := new(dashgatev1.GenerationOptions)
		if err := protojson.Unmarshal(p.call.Options, generation); err != nil {
			return nil, err
		}
		options = append(options, dashgate.WithOptions(generation))
	}
	if p.call.RequestID != "" {
		options = append(options, dashgate.WithRequestID(p.call.RequestID))
	}
	if p.call.Resume != nil {
		options = append(options, dashgate.WithResume(*p.call.Resume))
	}
	if p.call.Timeout != nil {
		options = append(options, dashgate.WithTimeout(milliseconds(*p.call.Timeout)))
	}
	if p.call.Metadata != nil {
		options = append(options, dashgate.WithMetadata(p.call.Metadata))
	}
	return options, nil
}

func (p *player) keep(conversation *dashgate.Conversation) (err error) {
	p.result.Conversation, err = plainly(conversation.Raw)
	return err
}
