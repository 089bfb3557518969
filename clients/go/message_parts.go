package dashgate

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// parseContent reads the content of a message: a text, null, or a list of parts.
func parseContent(place string, raw json.RawMessage) ([]*dashgatev1.Content, error) {
	if isNull(raw) {
		return nil, nil
	}
	if text, err := parseText(place, raw); err == nil {
		return []*dashgatev1.Content{Text(text)}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
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
var partTypes = []string{"text", "image_url", "input_audio", "video_url", "video"}

func parsePart(place string, raw json.RawMessage) (*dashgatev1.Content, error) {
	fields, err := parseObject(place, raw)
	if err != nil {
		return nil, err
	}
	kind := ""
	if typed, isTyped := fields["type"]; isTyped {
		if kind, err = parseText(place+".type", typed); err != nil {
			return nil, err
		}
		if !slices.Contains(partTypes, kind) {
			return nil, fmt.Errorf("%s.type: %q is unknown", place, kind)
		}
		delete(fields, "type")
		if len(fields) == 0 {
			return nil, fmt.Errorf("%s.%s: is missing", place, kind)
		}
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%s: is empty", place)
	}
	for name := range fields {
		if kind != "" && name != kind || len(fields) > 1 && kind == "" {
			return nil, fmt.Errorf("%s.%s: is unknown here", place, name)
		}
		kind = name
	}
	return parseKind(place+"."+kind, kind, fields[kind])
}

func parseKind(place, kind string, value json.RawMessage) (*dashgatev1.Content, error) {
	switch kind {
	case "text":
		text, err := parseText(place, value)
		return Text(text), err
	case "audio", "image":
		uri, err := parseText(place, value)
		if err != nil {
			return nil, err
		}
		return mediaPart(place, mediaKind(kind), uri)
	case "video":
		return parseVideo(place, value)
	case "image_url", "video_url":
		var form struct {
			URL string `json:"url"`
			// DashScope has no such choice.
			Detail json.RawMessage `json:"detail"`
		}
		if err := strictly(value, &form); err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		return mediaPart(place+".url", mediaKind(strings.TrimSuffix(kind, "_url")), form.URL)
	case "input_audio":
		return parseInputAudio(place, value)
	default:
		return nil, fmt.Errorf("%s: is unknown", place)
	}
}

// parseVideo reads a video: a URI, or a list of URIs of its frames.
func parseVideo(place string, value json.RawMessage) (*dashgatev1.Content, error) {
	if uri, err := parseText(place, value); err == nil {
		return mediaPart(place, videoKind, uri)
	}
	var uris []string
	if err := json.Unmarshal(value, &uris); err != nil || len(uris) == 0 {
		return nil, fmt.Errorf("%s: must be a URI or a list of URIs", place)
	}
	var frames []*dashgatev1.Content
	for at, uri := range uris {
		frame, err := mediaPart(fmt.Sprintf("%s[%d]", place, at), imageKind, uri)
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
	return VideoFrames(frames...), nil
}

// parseInputAudio reads audio as base64, or as a URI.
func parseInputAudio(place string, value json.RawMessage) (*dashgatev1.Content, error) {
	var form struct {
		Data   string `json:"data"`
		Format string `json:"format"`
	}
	if err := strictly(value, &form); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	if isURI(form.Data) {
		return mediaPart(place+".data", audioKind, form.Data)
	}
	data, err := base64.StdEncoding.DecodeString(form.Data)
	if err != nil || len(data) == 0 {
		return nil, fmt.Errorf("%s.data: must be base64 or an http:, https:, oss: or data: URI", place)
	}
	return fromData(audioKind, data, "audio."+form.Format, nil), nil
}

func isURI(text string) bool {
	for _, scheme := range []string{"http:", "https:", "oss:", "data:"} {
		if strings.HasPrefix(text, scheme) {
			return true
		}
	}
	return false
}

// mediaPart returns a part from a URI. The bytes of data: URIs are decoded.
func mediaPart(place string, kind mediaKind, uri string) (*dashgatev1.Content, error) {
	if !isURI(uri) {
		return nil, fmt.Errorf("%s: must be an http:, https:, oss: or data: URI", place)
	}
	rest, isData := strings.CutPrefix(uri, "data:")
	if !isData {
		return uriPart(kind, uri, ""), nil
	}
	header, text, hasData := strings.Cut(rest, ",")
	mimeType, isBase64 := strings.CutSuffix(header, ";base64")
	if !hasData {
		return nil, fmt.Errorf("%s: must have its data after a comma", place)
	}
	// The text may be escaped also as base64.
	unescaped, err := url.PathUnescape(text)
	data := []byte(unescaped)
	if err == nil && isBase64 {
		data, err = base64.StdEncoding.DecodeString(unescaped)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be decoded: %w", place, err)
	}
	var options []MediaOption
	if mimeType != "" {
		options = append(options, WithMIMEType(mimeType))
	}
	return fromData(kind, data, "", options), nil
}
