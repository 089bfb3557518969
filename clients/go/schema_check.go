package dashgate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// parseTyped reads a value of a type from JSON. Other than encoding/json, it refuses a value without
// a required property, and null in its place. The error quotes no value.
func parseTyped[T any](schema *typeSchema, text string) (T, error) {
	var value T
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return value, jsonProblem(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return value, errors.New("there is more after the JSON value")
	}
	if err := schema.check("", plain); err != nil {
		return value, err
	}
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return value, jsonProblem(err)
	}
	return value, nil
}

// check reports what encoding/json accepts and the schema does not. Types are left to it.
func (s *typeSchema) check(place string, value any) error {
	if value == nil && !s.isNullable {
		return fmt.Errorf("%smust not be null", prefix(place))
	}
	switch value := value.(type) {
	case string:
		if s.Enum != nil && !slices.Contains(s.Enum, value) {
			return fmt.Errorf("%smust be one of %s", prefix(place), strings.Join(s.Enum, ", "))
		}
	case []any:
		for at, item := range value {
			if s.Items == nil {
				break
			}
			if err := s.Items.check(fmt.Sprintf("%s[%d]", place, at), item); err != nil {
				return err
			}
		}
	case map[string]any:
		return s.checkObject(place, value)
	}
	return nil
}

func (s *typeSchema) checkObject(place string, object map[string]any) error {
	if values, isMap := s.AdditionalProperties.(*typeSchema); isMap {
		for _, value := range object {
			// The keys are values, too.
			if err := values.check(place+".*", value); err != nil {
				return err
			}
		}
	}
	for _, property := range s.Properties {
		for name := range object {
			// encoding/json takes it for the same field, past the checks of its value.
			if name != property.name && strings.EqualFold(name, property.name) {
				return fmt.Errorf("%s%s is written in another case", prefix(place), property.name)
			}
		}
		value, isThere := object[property.name]
		isRequired := slices.Contains(s.Required, property.name)
		switch {
		case !isThere && isRequired:
			return fmt.Errorf("%s%s is missing", prefix(place), property.name)
		case isThere && (value != nil || isRequired):
			if err := property.schema.check(place+"."+property.name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// prefix is how a message begins that is about a part of the value.
func prefix(place string) string {
	if place == "" {
		return ""
	}
	return strings.TrimPrefix(place, ".") + ": "
}

// typeName returns the name of a type as the name of a schema.
func typeName(of reflect.Type) string {
	name := strings.Map(func(char rune) rune {
		isPlain := char >= 'a' && char <= 'z' || char >= 'A' && char <= 'Z' || char >= '0' && char <= '9'
		if isPlain {
			return char
		}
		return '_'
	}, of.Name())
	if name == "" {
		return "answer"
	}
	return name
}
