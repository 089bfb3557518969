package main

import (
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

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
	if p.call.MaxRetries != nil {
		options = append(options, dashgate.WithMaxRetries(*p.call.MaxRetries))
	}
	turn, err := turnOptions(p.call.ExpectedTurn, p.call.History)
	return append(options, turn...), err
}

// turnOptions returns the options of a call of a stored conversation.
func turnOptions(expectedTurn *int32, history json.RawMessage) ([]dashgate.CallOption, error) {
	var options []dashgate.CallOption
	if expectedTurn != nil {
		options = append(options, dashgate.WithExpectedTurn(*expectedTurn))
	}
	if history != nil {
		policy := new(dashgatev1.HistoryPolicy)
		if err := protojson.Unmarshal(history, policy); err != nil {
			return nil, err
		}
		options = append(options, dashgate.WithHistory(policy))
	}
	return options, nil
}
