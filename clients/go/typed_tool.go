package dashgate

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
)

// NewTool returns a tool from a function with typed arguments: a struct, whose JSON Schema is derived
// from its fields. The tag json has the name of a field, description its description, and enum its
// values, separated by commas; fields with omitempty, omitzero or a pointer are optional. A result
// that is no string is written as JSON.
//
// Arguments of the model that are not of the type are answered with their error, so that it can call
// again. The function is not run.
func NewTool[Arguments, Result any](
	name, description string, function func(context.Context, Arguments) (Result, error),
) (Tool, error) {
	if function == nil {
		return Tool{}, nilArgument("function", "")
	}
	schema, parameters, err := derivedSchema(reflect.TypeFor[Arguments]())
	if err != nil {
		return Tool{}, err
	}
	if schema.Type != "object" {
		return Tool{}, fmt.Errorf("the arguments of %s must be a struct", name)
	}
	run := func(ctx context.Context, text string) (string, error) {
		if text == "" {
			// Of a model that calls a tool without arguments.
			text = "{}"
		}
		arguments, err := parseTyped[Arguments](schema, text)
		if err != nil {
			return errorResult("the arguments are invalid: " + err.Error()), nil
		}
		result, err := function(ctx, arguments)
		if err != nil {
			return "", err
		}
		if text, isText := any(result).(string); isText {
			return text, nil
		}
		written, err := json.Marshal(result)
		return string(written), err
	}
	return Tool{Name: name, Description: description, Parameters: parameters, Function: run}, nil
}

// derivedSchema returns the JSON Schema of a type, and its text.
func derivedSchema(of reflect.Type) (*typeSchema, string, error) {
	schema, err := schemaOf(of, nil)
	if err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(schema)
	return schema, string(text), err
}
