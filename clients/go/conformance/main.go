// Command conformance plays one case of tests/conformance: a job on standard input, a result on
// standard output.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

type job struct {
	Target  string  `json:"target"`
	Options options `json:"options"`
	Call    request `json:"call"`
}

type options struct {
	APIKey *string `json:"api_key"`
	TLS    *struct {
		CA         string `json:"ca_file"`
		Cert       string `json:"cert_file"`
		Key        string `json:"key_file"`
		ServerName string `json:"server_name"`
	} `json:"tls"`
	Timeout     *float64          `json:"timeout_ms"`
	IdleTimeout *float64          `json:"idle_timeout_ms"`
	Metadata    map[string]string `json:"metadata"`
}

type request struct {
	Do           string            `json:"do"`
	Conversation json.RawMessage   `json:"conversation"`
	Options      json.RawMessage   `json:"options"`
	RequestID    string            `json:"request_id"`
	Timeout      *float64          `json:"timeout_ms"`
	Metadata     map[string]string `json:"metadata"`
	Cancel       struct {
		AfterMs     float64 `json:"after_ms"`
		AfterEvents int     `json:"after_events"`
	} `json:"cancel"`

	Model     string              `json:"model"`
	System    string              `json:"system"`
	Turns     [][]contentSpec     `json:"turns"`
	Stream    bool                `json:"stream"`
	Question  string              `json:"question"`
	Tools     []toolSpec          `json:"tools"`
	Results   map[string]string   `json:"results"`
	MaxRounds int                 `json:"max_rounds"`
	File      string              `json:"file"`
	MIMEType  string              `json:"mime_type"`
	Name      string              `json:"name"`
	Then      []contentSpec       `json:"then"`
	Count     int                 `json:"count"`
	Vectors   []map[string]string `json:"vectors"`
}

type toolSpec struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Parameters  string `json:"parameters"`
}

type contentSpec map[string]any

type answer struct {
	Text              string            `json:"text"`
	ReasoningText     string            `json:"reasoning_text"`
	FinishReason      any               `json:"finish_reason"`
	RawFinishReason   string            `json:"raw_finish_reason"`
	AudioBytes        int               `json:"audio_bytes"`
	AudioCRC32        uint32            `json:"audio_crc32"`
	ToolCalls         []json.RawMessage `json:"tool_calls"`
	RequestID         string            `json:"request_id"`
	UpstreamRequestID string            `json:"upstream_request_id"`
	Model             string            `json:"model"`
	Usage             json.RawMessage   `json:"usage"`
	Message           json.RawMessage   `json:"message"`
	Raw               json.RawMessage   `json:"raw"`
}

type result struct {
	Answers      []answer          `json:"answers,omitempty"`
	Events       []json.RawMessage `json:"events,omitzero"`
	Deltas       []string          `json:"deltas,omitzero"`
	ToolCalls    []toolCall        `json:"tool_calls,omitzero"`
	Uploads      []json.RawMessage `json:"uploads,omitempty"`
	MIMETypes    []string          `json:"mime_types,omitempty"`
	Conversation json.RawMessage   `json:"conversation,omitempty"`
	Error        *failure          `json:"error,omitempty"`
	Elapsed      int64             `json:"elapsed_ms"`
}

type toolCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type failure struct {
	Code               string          `json:"code"`
	Reason             string          `json:"reason,omitempty"`
	RawReason          string          `json:"raw_reason,omitempty"`
	Message            string          `json:"message,omitempty"`
	OutputStarted      bool            `json:"output_started"`
	Usage              json.RawMessage `json:"usage,omitempty"`
	UpstreamCode       string          `json:"upstream_code,omitempty"`
	UpstreamHTTPStatus int             `json:"upstream_http_status,omitempty"`
	UpstreamRequestID  string          `json:"upstream_request_id,omitempty"`
	Model              string          `json:"model,omitempty"`
	RequestID          string          `json:"request_id,omitempty"`
	Attempts           int             `json:"attempts,omitempty"`
	RetryAfter         *int64          `json:"retry_after_ms,omitempty"`
	FieldViolations    []violation     `json:"field_violations,omitempty"`
}

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

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
		if player.result.Error, err = told(failed); err != nil {
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
	case "sniff":
		return p.sniff()
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

// question is what converse, stream, deltas and many ask.
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

// answered notes an answer.
func (p *player) answered(from *dashgate.Answer, err error) error {
	if err != nil {
		return err
	}
	told := answer{
		Text:              from.Text(),
		ReasoningText:     from.ReasoningText(),
		FinishReason:      int32(from.FinishReason()),
		RawFinishReason:   from.RawFinishReason(),
		AudioBytes:        len(from.Audio()),
		AudioCRC32:        crc32.ChecksumIEEE(from.Audio()),
		ToolCalls:         []json.RawMessage{},
		RequestID:         from.RequestID(),
		UpstreamRequestID: from.UpstreamRequestID(),
		Model:             from.Model(),
	}
	if name, known := dashgatev1.FinishReason_name[int32(from.FinishReason())]; known {
		told.FinishReason = name
	}
	for _, call := range from.ToolCalls() {
		plain, err := plainly(call)
		if err != nil {
			return err
		}
		told.ToolCalls = append(told.ToolCalls, plain)
	}
	if told.Usage, err = plainly(from.Usage()); err != nil {
		return err
	}
	if told.Message, err = plainly(from.Message()); err != nil {
		return err
	}
	if told.Raw, err = plainly(from.Raw); err != nil {
		return err
	}
	p.result.Answers = append(p.result.Answers, told)
	return nil
}

// contents makes parts as a user would, with the functions of the library.
func contents(specs []contentSpec, uploaded string) ([]*dashgatev1.Content, error) {
	var parts []*dashgatev1.Content
	for _, spec := range specs {
		part, err := content(spec, uploaded)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// media is one kind of medium.
type media struct {
	file  func(string, ...dashgate.MediaOption) (*dashgatev1.Content, error)
	bytes func([]byte, ...dashgate.MediaOption) *dashgatev1.Content
	uri   func(string, ...dashgate.MediaOption) *dashgatev1.Content
}

var kinds = map[string]media{
	"audio": {dashgate.AudioFile, dashgate.AudioBytes, dashgate.AudioURI},
	"image": {dashgate.ImageFile, dashgate.ImageBytes, dashgate.ImageURI},
	"video": {dashgate.VideoFile, dashgate.VideoBytes, dashgate.VideoURI},
}

func content(spec contentSpec, uploaded string) (*dashgatev1.Content, error) {
	var options []dashgate.MediaOption
	if mimeType, there := spec["mime_type"].(string); there {
		options = append(options, dashgate.WithMIMEType(mimeType))
	}
	for key, value := range spec {
		if key == "mime_type" {
			continue
		}
		if frames, there := value.([]any); there && key == "video_frames" {
			var pictures []*dashgatev1.Content
			for _, frame := range frames {
				picture, err := dashgate.ImageFile(fmt.Sprint(frame), options...)
				if err != nil {
					return nil, err
				}
				pictures = append(pictures, picture)
			}
			return dashgate.VideoFrames(pictures...), nil
		}
		text, _ := value.(string)
		kind, form, _ := strings.Cut(key, "_")
		switch helpers, known := kinds[kind]; {
		case key == "text":
			return dashgate.Text(text), nil
		case key == "uploaded":
			return kinds[text].uri(uploaded, options...), nil
		case known && form == "file":
			return helpers.file(text, options...)
		case known && form == "bytes_of":
			data, err := os.ReadFile(text)
			return helpers.bytes(data, options...), err
		case known && form == "uri":
			return helpers.uri(text, options...), nil
		}
		return nil, fmt.Errorf("unknown content spec: %s", key)
	}
	return nil, errors.New("an empty content spec")
}

func told(from *dashgate.Error) (*failure, error) {
	if from.Code == codes.Canceled && errors.Is(from, context.Canceled) {
		return &failure{Code: "CANCELLED"}, nil
	}
	failure := &failure{
		Code:               code.Code_name[int32(from.Code)],
		RawReason:          from.RawReason,
		Message:            from.Message,
		OutputStarted:      from.OutputStarted,
		Model:              from.Model,
		UpstreamCode:       from.UpstreamCode,
		UpstreamHTTPStatus: from.UpstreamHTTPStatus,
		UpstreamRequestID:  from.UpstreamRequestID,
		RequestID:          from.RequestID,
		Attempts:           from.Attempts,
	}
	if from.Reason != dashgatev1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		failure.Reason = dashgatev1.ErrorReason_name[int32(from.Reason)]
	}
	if from.Usage != nil {
		usage, err := plainly(from.Usage)
		if err != nil {
			return nil, err
		}
		failure.Usage = usage
	}
	if after, there := from.RetryAfter(); there {
		milliseconds := after.Milliseconds()
		failure.RetryAfter = &milliseconds
	}
	for _, wrong := range from.FieldViolations {
		failure.FieldViolations = append(failure.FieldViolations, violation{wrong.Field, wrong.Description})
	}
	return failure, nil
}

// plainly gives the proto3 JSON of a message.
func plainly(message proto.Message) (json.RawMessage, error) {
	text, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, text)
	return compact.Bytes(), err
}
