package dashgate

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// typeSchema is the JSON Schema of a Go type.
type typeSchema struct {
	Type        string           `json:"type,omitempty"`
	Description string           `json:"description,omitempty"`
	Format      string           `json:"format,omitempty"`
	Enum        []string         `json:"enum,omitempty"`
	Properties  schemaProperties `json:"properties,omitempty"`
	Required    []string         `json:"required,omitempty"`
	Items       *typeSchema      `json:"items,omitempty"`
	// AdditionalProperties is false for structs, and the schema of the values for maps.
	AdditionalProperties any `json:"additionalProperties,omitempty"`

	// isNullable is whether null may stand for the value.
	isNullable bool
}

// schemaProperty is a property of an object.
type schemaProperty struct {
	name   string
	schema *typeSchema
	// depth is how many embedded structs the field is in.
	depth int
}

// schemaProperties keep the order of the fields, in which a model writes them.
type schemaProperties []schemaProperty

// MarshalJSON writes an object.
func (p schemaProperties) MarshalJSON() ([]byte, error) {
	var object bytes.Buffer
	object.WriteByte('{')
	for at, property := range p {
		if at > 0 {
			object.WriteByte(',')
		}
		name, err := json.Marshal(property.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(property.schema)
		if err != nil {
			return nil, err
		}
		object.Write(name)
		object.WriteByte(':')
		object.Write(value)
	}
	object.WriteByte('}')
	return object.Bytes(), nil
}

// Types whose JSON form is not that of their kind.
var (
	timeType      = reflect.TypeFor[time.Time]()
	numberType    = reflect.TypeFor[json.Number]()
	marshalerType = reflect.TypeFor[json.Marshaler]()
	textType      = reflect.TypeFor[encoding.TextMarshaler]()
)

// schemaOf returns the schema of a type. outer are the structs that it is in.
func schemaOf(of reflect.Type, outer []reflect.Type) (*typeSchema, error) {
	// A decoder has the address of a value, and so the methods of its pointer.
	methods := reflect.PointerTo(of)
	switch {
	case of == timeType:
		return &typeSchema{Type: "string", Format: "date-time"}, nil
	case of == numberType:
		return &typeSchema{Type: "number"}, nil
	case of.Kind() == reflect.Pointer:
		// What it points to decides, and it may be null.
	case methods.Implements(marshalerType):
		return &typeSchema{isNullable: true}, nil
	case methods.Implements(textType):
		return &typeSchema{Type: "string"}, nil
	}
	if of.Name() != "" && of.Kind() != reflect.Struct {
		if slices.Contains(outer, of) {
			return nil, containsItself(of)
		}
		outer = append(slices.Clip(outer), of)
	}
	switch of.Kind() {
	case reflect.Bool:
		return &typeSchema{Type: "boolean"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &typeSchema{Type: "integer"}, nil
	case reflect.Float32, reflect.Float64:
		return &typeSchema{Type: "number"}, nil
	case reflect.String:
		return &typeSchema{Type: "string"}, nil
	case reflect.Interface:
		return &typeSchema{isNullable: true}, nil
	case reflect.Pointer:
		schema, err := schemaOf(of.Elem(), outer)
		if err == nil {
			schema.isNullable = true
		}
		return schema, err
	case reflect.Slice, reflect.Array:
		if of.Elem().Kind() == reflect.Uint8 && of.Kind() == reflect.Slice {
			return &typeSchema{Type: "string"}, nil // Base64.
		}
		items, err := schemaOf(of.Elem(), outer)
		return &typeSchema{Type: "array", Items: items}, err
	case reflect.Map:
		if of.Key().Kind() != reflect.String {
			return nil, fmt.Errorf("%v has no JSON Schema: its keys are not texts", of)
		}
		values, err := schemaOf(of.Elem(), outer)
		return &typeSchema{Type: "object", AdditionalProperties: values}, err
	case reflect.Struct:
		return structSchema(of, outer)
	default:
		return nil, fmt.Errorf("%v has no JSON Schema", of)
	}
}

func containsItself(of reflect.Type) error {
	return fmt.Errorf("%v contains itself, which its JSON Schema cannot express", of)
}

func structSchema(of reflect.Type, outer []reflect.Type) (*typeSchema, error) {
	if slices.Contains(outer, of) {
		return nil, containsItself(of)
	}
	schema := &typeSchema{Type: "object", AdditionalProperties: false, Properties: schemaProperties{}}
	return schema, schema.addFields(of, append(slices.Clip(outer), of), 0)
}

// addFields adds the fields of a struct as encoding/json writes them.
func (s *typeSchema) addFields(of reflect.Type, outer []reflect.Type, depth int) error {
	for field := range fields(of) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		embedded := field.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		isInlined := field.Anonymous && name == "" && embedded.Kind() == reflect.Struct
		switch {
		case name == "-" && options == "" || !field.IsExported() && !isInlined:
			continue
		case isInlined:
			if slices.Contains(outer, embedded) {
				return fmt.Errorf("%v contains itself, which its JSON Schema cannot express", embedded)
			}
			if err := s.addFields(embedded, append(slices.Clip(outer), embedded), depth+1); err != nil {
				return err
			}
			continue
		case name == "":
			name = field.Name
		}
		schema, err := schemaOf(field.Type, outer)
		if err != nil {
			return fmt.Errorf("%v.%s: %w", of, field.Name, err)
		}
		schema.Description = field.Tag.Get("description")
		if values := field.Tag.Get("enum"); values != "" {
			if err := schema.addEnum(strings.Split(values, ",")); err != nil {
				return fmt.Errorf("%v.%s: %w", of, field.Name, err)
			}
		}
		flags := strings.Split(options, ",")
		if slices.Contains(flags, "string") {
			schema.Type = "string"
		}
		isOptional := slices.Contains(flags, "omitempty") || slices.Contains(flags, "omitzero")
		s.add(schemaProperty{name, schema, depth}, !isOptional && !schema.isNullable)
	}
	return nil
}

// add adds a property. Of two with one name, the one in fewer embedded structs counts.
func (s *typeSchema) add(property schemaProperty, isRequired bool) {
	isSame := func(other schemaProperty) bool { return other.name == property.name }
	if at := slices.IndexFunc(s.Properties, isSame); at >= 0 {
		if s.Properties[at].depth <= property.depth {
			return
		}
		s.Properties = slices.Delete(s.Properties, at, at+1)
		s.Required = slices.DeleteFunc(s.Required, func(name string) bool { return name == property.name })
	}
	s.Properties = append(s.Properties, property)
	if isRequired {
		s.Required = append(s.Required, property.name)
	}
}

// addEnum limits a text, or the texts of a list.
func (s *typeSchema) addEnum(values []string) error {
	if s.Items != nil {
		return s.Items.addEnum(values)
	}
	if s.Type != "string" {
		return errors.New("the tag enum is for texts")
	}
	s.Enum = values
	return nil
}

// fields iterates over the fields of a struct.
func fields(of reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for at := range of.NumField() {
			if !yield(of.Field(at)) {
				return
			}
		}
	}
}
