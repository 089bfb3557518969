package dashgate

import (
	"io"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// mediaKind is a kind of media, as in the first part of a MIME type.
type mediaKind string

const (
	audioKind mediaKind = "audio"
	imageKind mediaKind = "image"
	videoKind mediaKind = "video"
)

// Text returns a text part.
func Text(text string) *dashgatev1.Content {
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Text{Text: text}}
}

// AudioFile returns an audio part from a file, by its path or file: URI. The path is not sent: the
// file is read now or, above 4 MiB, uploaded by the first call with the part. The error is that of
// reading the file.
func AudioFile(path string, options ...MediaOption) (*dashgatev1.Content, error) {
	return fromFile(audioKind, path, options)
}

// AudioReader returns an audio part from a reader, such as an open file, which is read to its end.
// The error is that of the reader.
func AudioReader(source io.Reader, options ...MediaOption) (*dashgatev1.Content, error) {
	return fromReader(audioKind, source, options)
}

// AudioBytes returns an audio part from bytes.
func AudioBytes(data []byte, options ...MediaOption) *dashgatev1.Content {
	return fromData(audioKind, data, "", options)
}

// AudioURI returns an audio part from a URI: http:, https:, oss: or data:. AudioFile takes a file: URI.
func AudioURI(uri string, options ...MediaOption) *dashgatev1.Content {
	return uriPart(audioKind, uri, given(options))
}

// ImageFile returns an image part from a file, by its path or file: URI. The path is not sent: the
// file is read now or, above 4 MiB, uploaded by the first call with the part. The error is that of
// reading the file.
func ImageFile(path string, options ...MediaOption) (*dashgatev1.Content, error) {
	return fromFile(imageKind, path, options)
}

// ImageReader returns an image part from a reader, such as an open file, which is read to its end.
// The error is that of the reader.
func ImageReader(source io.Reader, options ...MediaOption) (*dashgatev1.Content, error) {
	return fromReader(imageKind, source, options)
}

// ImageBytes returns an image part from bytes.
func ImageBytes(data []byte, options ...MediaOption) *dashgatev1.Content {
	return fromData(imageKind, data, "", options)
}

// ImageURI returns an image part from a URI: http:, https:, oss: or data:. ImageFile takes a file: URI.
func ImageURI(uri string, options ...MediaOption) *dashgatev1.Content {
	return uriPart(imageKind, uri, given(options))
}

// VideoFile returns a video part from a file, by its path or file: URI. The path is not sent: the
// file is read now or, above 4 MiB, uploaded by the first call with the part. The error is that of
// reading the file.
func VideoFile(path string, options ...MediaOption) (*dashgatev1.Content, error) {
	return fromFile(videoKind, path, options)
}

// VideoReader returns a video part from a reader, such as an open file, which is read to its end.
// The error is that of the reader.
func VideoReader(source io.Reader, options ...MediaOption) (*dashgatev1.Content, error) {
	return fromReader(videoKind, source, options)
}

// VideoBytes returns a video part from bytes.
func VideoBytes(data []byte, options ...MediaOption) *dashgatev1.Content {
	return fromData(videoKind, data, "", options)
}

// VideoURI returns a video part from a URI: http:, https:, oss: or data:. VideoFile takes a file: URI.
func VideoURI(uri string, options ...MediaOption) *dashgatev1.Content {
	return uriPart(videoKind, uri, given(options))
}

// VideoFrames returns a video part from its frames: parts returned by ImageFile, ImageReader,
// ImageBytes or ImageURI.
func VideoFrames(frames ...*dashgatev1.Content) *dashgatev1.Content {
	images := new(dashgatev1.VideoFrames)
	for _, frame := range frames {
		images.Frames = append(images.Frames, frame.GetImage())
	}
	part := &dashgatev1.Video{Source: &dashgatev1.Video_Frames{Frames: images}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Video{Video: part}}
}

// fromData returns a part from bytes. The name helps to detect the MIME type, if it is not given.
func fromData(kind mediaKind, data []byte, name string, options []MediaOption) *dashgatev1.Content {
	mimeType := mimeTypeOf(kind, data, name, options)
	switch kind {
	case audioKind:
		part := &dashgatev1.Audio{MimeType: mimeType, Source: &dashgatev1.Audio_Data{Data: data}}
		return &dashgatev1.Content{Kind: &dashgatev1.Content_Audio{Audio: part}}
	case imageKind:
		part := &dashgatev1.Image{MimeType: mimeType, Source: &dashgatev1.Image_Data{Data: data}}
		return &dashgatev1.Content{Kind: &dashgatev1.Content_Image{Image: part}}
	default:
		part := &dashgatev1.Video{MimeType: mimeType, Source: &dashgatev1.Video_Data{Data: data}}
		return &dashgatev1.Content{Kind: &dashgatev1.Content_Video{Video: part}}
	}
}

func uriPart(kind mediaKind, uri, mimeType string) *dashgatev1.Content {
	switch kind {
	case audioKind:
		part := &dashgatev1.Audio{MimeType: mimeType, Source: &dashgatev1.Audio_Uri{Uri: uri}}
		return &dashgatev1.Content{Kind: &dashgatev1.Content_Audio{Audio: part}}
	case imageKind:
		part := &dashgatev1.Image{MimeType: mimeType, Source: &dashgatev1.Image_Uri{Uri: uri}}
		return &dashgatev1.Content{Kind: &dashgatev1.Content_Image{Image: part}}
	default:
		part := &dashgatev1.Video{MimeType: mimeType, Source: &dashgatev1.Video_Uri{Uri: uri}}
		return &dashgatev1.Content{Kind: &dashgatev1.Content_Video{Video: part}}
	}
}

func mimeTypeOf(kind mediaKind, head []byte, name string, options []MediaOption) string {
	if mimeType := given(options); mimeType != "" {
		return mimeType
	}
	return sniff(head, name, string(kind))
}

// given returns the MIME type of the options.
func given(options []MediaOption) string {
	var last string
	for _, option := range options {
		if option != nil {
			last = option.mimeType()
		}
	}
	return last
}
