package dashgate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// messageFields are the keys of an object in a list of messages. Those with the value null are absent.
type messageFields struct {
	place  string
	values map[string]json.RawMessage
}

func parseFields(place string, raw json.RawMessage) (messageFields, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || values == nil {
		return messageFields{}, fmt.Errorf("%s: must be an object", place)
	}
	maps.DeleteFunc(values, func(_ string, value json.RawMessage) bool { return isNull(value) })
	return messageFields{place, values}, nil
}

// at returns the place of a key.
func (f messageFields) at(name string) string { return f.place + "." + name }

// only refuses all keys but these.
func (f messageFields) only(known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s: is unknown", f.at(printable(name)))
		}
	}
	return nil
}

// required returns the value of a key.
func (f messageFields) required(name string) (json.RawMessage, error) {
	value, isThere := f.values[name]
	if !isThere {
		return nil, fmt.Errorf("%s: is missing", f.at(name))
	}
	return value, nil
}

// text returns the text of a key; empty if it is absent.
func (f messageFields) text(name string) (string, error) {
	value, isThere := f.values[name]
	if !isThere {
		return "", nil
	}
	return parseText(f.at(name), value)
}

// object returns the object of a key, which has no other keys than these.
func (f messageFields) object(name string, known ...string) (messageFields, error) {
	value, err := f.required(name)
	if err != nil {
		return messageFields{}, err
	}
	fields, err := parseFields(f.at(name), value)
	if err != nil {
		return messageFields{}, err
	}
	return fields, fields.only(known...)
}

func parseList(place string, raw json.RawMessage) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return nil, fmt.Errorf("%s: must be a list", place)
	}
	return list, nil
}

func parseText(place string, raw json.RawMessage) (string, error) {
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("%s: must be a text", place)
	}
	if hasLoneSurrogate(raw) {
		return "", fmt.Errorf("%s: has a surrogate without its pair", place)
	}
	return *text, nil
}

// hasLoneSurrogate is whether a JSON text has an escaped surrogate without its pair, which
// encoding/json replaces.
func hasLoneSurrogate(raw json.RawMessage) bool {
	isOpen := false
	for at := 0; at < len(raw); at++ {
		unit := uint64(0)
		if raw[at] == '\\' {
			at++
			if raw[at] == 'u' {
				// The text is valid, so there are four digits.
				unit, _ = strconv.ParseUint(string(raw[at+1:at+5]), 16, 16)
				at += 4
			}
		}
		isLow := unit >= 0xdc00 && unit < 0xe000
		if isOpen != isLow {
			return true
		}
		isOpen = unit >= 0xd800 && unit < 0xdc00
	}
	return isOpen
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }
