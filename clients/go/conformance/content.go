package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

type contentSpec map[string]any

// contents returns the parts of a message, created by the public functions.
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

// media has the functions for one kind of media.
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
			var images []*dashgatev1.Content
			for _, frame := range frames {
				image, err := dashgate.ImageFile(fmt.Sprint(frame), options...)
				if err != nil {
					return nil, err
				}
				images = append(images, image)
			}
			return dashgate.VideoFrames(images...), nil
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
		case known && form == "uri" && strings.HasPrefix(text, "file:"):
			return helpers.file(text, options...)
		case known && form == "uri":
			return helpers.uri(text, options...), nil
		}
		return nil, fmt.Errorf("unknown content spec: %s", key)
	}
	return nil, errors.New("an empty content spec")
}
