package dashgate

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// parseContent reads the content of a message: a text or a list of parts.
func parseContent(place string, raw json.RawMessage) ([]*dashgatev1.Content, error) {
	if isText(raw) {
		text, err := parseText(place, raw)
		if err != nil {
			return nil, err
		}
		return []*dashgatev1.Content{Text(text)}, nil
	}
	list, err := parseList(place, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: must be a text, null or a list of parts", place)
	}
	var content []*dashgatev1.Content
	for at, raw := range list {
		part, err := parsePart(fmt.Sprintf("%s[%d]", place, at), raw)
		if err != nil {
			return nil, err
		}
		content = append(content, part)
	}
	return content, nil
}

// partTypes are the types of OpenAI's parts, each also the key of its value. DashScope's parts have no
// type: their only key is their kind.
var (
	partTypes  = []string{"text", "image_url", "input_audio", "video_url", "video"}
	plainParts = []string{"text", "audio", "image", "video"}
)

func parsePart(place string, raw json.RawMessage) (*dashgatev1.Content, error) {
	fields, err := parseFields(place, raw)
	if err != nil {
		return nil, err
	}
	kind, err := fields.text("type")
	if err != nil {
		return nil, err
	}
	if _, isTyped := fields.values["type"]; isTyped {
		if !slices.Contains(partTypes, kind) {
			return nil, fmt.Errorf("%s.type: must be one of %s", place, strings.Join(partTypes, ", "))
		}
		if _, err := fields.required(kind); err != nil {
			return nil, err
		}
		err = fields.only("type", kind)
	} else {
		if kind, err = onlyKey(fields); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return parseKind(fields, kind)
}

// onlyKey returns the key of DashScope's parts.
func onlyKey(fields messageFields) (string, error) {
	if err := fields.only(plainParts...); err != nil {
		return "", err
	}
	names := slices.Sorted(maps.Keys(fields.values))
	switch len(names) {
	case 0:
		return "", fmt.Errorf("%s: is empty", fields.place)
	case 1:
		return names[0], nil
	default:
		return "", fmt.Errorf("%s: is unknown here", fields.at(names[1]))
	}
}

func parseKind(fields messageFields, kind string) (*dashgatev1.Content, error) {
	place, value := fields.at(kind), fields.values[kind]
	switch kind {
	case "text":
		text, err := parseText(place, value)
		return Text(text), err
	case "audio", "image":
		return parseMedia(place, mediaKind(kind), value)
	case "video":
		return parseVideo(place, value)
	case "image_url":
		// DashScope has no choice of the detail.
		return parseURL(fields, kind, imageKind, "url", "detail")
	case "video_url":
		return parseURL(fields, kind, videoKind, "url")
	default:
		return parseInputAudio(fields)
	}
}

// parseURL reads an object with the key url.
func parseURL(
	fields messageFields, name string, kind mediaKind, known ...string,
) (*dashgatev1.Content, error) {
	inner, err := fields.object(name, known...)
	if err != nil {
		return nil, err
	}
	value, err := inner.required("url")
	if err != nil {
		return nil, err
	}
	return parseMedia(inner.at("url"), kind, value)
}

func parseMedia(place string, kind mediaKind, value json.RawMessage) (*dashgatev1.Content, error) {
	uri, err := parseText(place, value)
	if err != nil {
		return nil, err
	}
	return mediaPart(place, kind, uri, "")
}

// parseVideo reads a video: a URI, or a list of URIs of its frames.
func parseVideo(place string, value json.RawMessage) (*dashgatev1.Content, error) {
	if isText(value) {
		return parseMedia(place, videoKind, value)
	}
	list, err := parseList(place, value)
	if err != nil || len(list) == 0 {
		return nil, fmt.Errorf("%s: must be a URI or a list of URIs", place)
	}
	var frames []*dashgatev1.Content
	for at, uri := range list {
		frame, err := parseMedia(fmt.Sprintf("%s[%d]", place, at), imageKind, uri)
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
	return VideoFrames(frames...), nil
}

// parseInputAudio reads audio as base64, or as a URI.
func parseInputAudio(fields messageFields) (*dashgatev1.Content, error) {
	inner, err := fields.object("input_audio", "data", "format")
	if err != nil {
		return nil, err
	}
	text, err := inner.text("data")
	if err != nil {
		return nil, err
	}
	format, err := inner.text("format")
	if err != nil {
		return nil, err
	}
	place, name := inner.at("data"), "audio."+format
	if isURI(text) {
		return mediaPart(place, audioKind, text, name)
	}
	data, isValid := decodeBase64(text)
	if !isValid || len(data) == 0 {
		return nil, fmt.Errorf("%s: must be base64 or an http:, https:, oss: or data: URI", place)
	}
	return typedData(audioKind, data, "", name), nil
}

// isText is whether a JSON value is a text.
func isText(raw json.RawMessage) bool { return raw[0] == '"' }

func isURI(text string) bool {
	scheme, _, hasScheme := strings.Cut(text, ":")
	return hasScheme && slices.Contains([]string{"http", "https", "oss", "data"}, strings.ToLower(scheme))
}

// cutSuffixFold is strings.CutSuffix for any case of ASCII letters.
func cutSuffixFold(text, suffix string) (string, bool) {
	at := len(text) - len(suffix)
	if at < 0 || !strings.EqualFold(text[at:], suffix) {
		return text, false
	}
	return text[:at], true
}

// mediaPart returns a part from a URI. The bytes of data: URIs are decoded; without a type, the
// extension of the name gives it.
func mediaPart(place string, kind mediaKind, uri, name string) (*dashgatev1.Content, error) {
	if !isURI(uri) {
		return nil, fmt.Errorf("%s: must be an http:, https:, oss: or data: URI", place)
	}
	scheme, rest, _ := strings.Cut(uri, ":")
	if !strings.EqualFold(scheme, "data") {
		return uriPart(kind, uri, ""), nil
	}
	header, text, hasData := strings.Cut(rest, ",")
	mimeType, isBase64 := cutSuffixFold(header, ";base64")
	if !hasData {
		return nil, fmt.Errorf("%s: must have its data after a comma", place)
	}
	var data []byte
	var isValid bool
	if isBase64 {
		data, isValid = decodeBase64(text)
	} else {
		unescaped, err := url.PathUnescape(text)
		data, isValid = []byte(unescaped), err == nil
	}
	if !isValid {
		return nil, fmt.Errorf("%s: cannot be decoded", place)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("%s: has no data", place)
	}
	if strings.HasPrefix(mimeType, ";") {
		// Parameters without a type.
		mimeType = ""
	}
	return typedData(kind, data, mimeType, name), nil
}

// typedData returns a part of bytes. Without a type, the extension of the name gives it, else the
// bytes do.
func typedData(kind mediaKind, data []byte, mimeType, name string) *dashgatev1.Content {
	var options []MediaOption
	if mimeType = cmp.Or(mimeType, sniff(nil, name, string(kind))); mimeType != "" {
		options = append(options, WithMIMEType(mimeType))
	}
	return fromData(kind, data, "", options)
}

// decodeBase64 decodes base64 with or without padding, and without the line breaks that
// encoding/base64 accepts.
func decodeBase64(text string) ([]byte, bool) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(text, "=") {
		encoding = base64.StdEncoding
	}
	data, err := encoding.DecodeString(text)
	return data, err == nil && !strings.ContainsAny(text, "\r\n")
}
