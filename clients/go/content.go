package dashgate

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// Text makes a part of plain text.
func Text(text string) *dashgatev1.Content {
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Text{Text: text}}
}

// AudioFile makes a part of a sound in a file, which is read here: a path is never sent.
func AudioFile(path string, options ...MediaOption) (*dashgatev1.Content, error) {
	data, mimeType, err := read(path, options)
	if err != nil {
		return nil, err
	}
	return audio(data, mimeType), nil
}

// AudioBytes makes a part of a sound in memory.
func AudioBytes(data []byte, options ...MediaOption) *dashgatev1.Content {
	return audio(data, told(options, data, ""))
}

// AudioURI makes a part of a sound that is somewhere: http:, https:, oss: or data:.
func AudioURI(uri string, options ...MediaOption) *dashgatev1.Content {
	sound := &dashgatev1.Audio{MimeType: given(options), Source: &dashgatev1.Audio_Uri{Uri: uri}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Audio{Audio: sound}}
}

// ImageFile makes a part of a picture in a file, which is read here: a path is never sent.
func ImageFile(path string, options ...MediaOption) (*dashgatev1.Content, error) {
	data, mimeType, err := read(path, options)
	if err != nil {
		return nil, err
	}
	return image(data, mimeType), nil
}

// ImageBytes makes a part of a picture in memory.
func ImageBytes(data []byte, options ...MediaOption) *dashgatev1.Content {
	return image(data, told(options, data, ""))
}

// ImageURI makes a part of a picture that is somewhere: http:, https:, oss: or data:.
func ImageURI(uri string, options ...MediaOption) *dashgatev1.Content {
	picture := &dashgatev1.Image{MimeType: given(options), Source: &dashgatev1.Image_Uri{Uri: uri}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Image{Image: picture}}
}

// VideoFile makes a part of a film in a file, which is read here: a path is never sent.
func VideoFile(path string, options ...MediaOption) (*dashgatev1.Content, error) {
	data, mimeType, err := read(path, options)
	if err != nil {
		return nil, err
	}
	return video(data, mimeType), nil
}

// VideoBytes makes a part of a film in memory.
func VideoBytes(data []byte, options ...MediaOption) *dashgatev1.Content {
	return video(data, told(options, data, ""))
}

// VideoURI makes a part of a film that is somewhere: http:, https:, oss: or data:.
func VideoURI(uri string, options ...MediaOption) *dashgatev1.Content {
	film := &dashgatev1.Video{MimeType: given(options), Source: &dashgatev1.Video_Uri{Uri: uri}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Video{Video: film}}
}

// VideoFrames makes a part of a film from its frames: parts that the functions for pictures made.
func VideoFrames(frames ...*dashgatev1.Content) *dashgatev1.Content {
	pictures := new(dashgatev1.VideoFrames)
	for _, frame := range frames {
		pictures.Frames = append(pictures.Frames, frame.GetImage())
	}
	film := &dashgatev1.Video{Source: &dashgatev1.Video_Frames{Frames: pictures}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Video{Video: film}}
}

func audio(data []byte, mimeType string) *dashgatev1.Content {
	sound := &dashgatev1.Audio{MimeType: mimeType, Source: &dashgatev1.Audio_Data{Data: data}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Audio{Audio: sound}}
}

func image(data []byte, mimeType string) *dashgatev1.Content {
	picture := &dashgatev1.Image{MimeType: mimeType, Source: &dashgatev1.Image_Data{Data: data}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Image{Image: picture}}
}

func video(data []byte, mimeType string) *dashgatev1.Content {
	film := &dashgatev1.Video{MimeType: mimeType, Source: &dashgatev1.Video_Data{Data: data}}
	return &dashgatev1.Content{Kind: &dashgatev1.Content_Video{Video: film}}
}

func read(path string, options []MediaOption) ([]byte, string, error) {
	data, err := os.ReadFile(path)
	return data, told(options, data, path), err
}

func told(options []MediaOption, data []byte, name string) string {
	if mimeType := given(options); mimeType != "" {
		return mimeType
	}
	return sniff(data, name)
}

func given(options []MediaOption) string {
	var last string
	for _, option := range options {
		last = option.mimeType()
	}
	return last
}

// sniff tells a medium's MIME type by its first bytes, else by its name; empty if neither tells.
func sniff(head []byte, name string) string {
	for _, rule := range magic {
		if rule.holds(head) {
			return rule.mimeType
		}
	}
	return extensions[strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))]
}

// magicRule is bytes in hex that stand at the beginning of a medium; ".." is any byte.
type magicRule struct {
	bytes    string
	mimeType string
}

func (r magicRule) holds(head []byte) bool {
	if len(head) < len(r.bytes)/2 {
		return false
	}
	for at := range len(r.bytes) / 2 {
		want := r.bytes[2*at : 2*at+2]
		if want != ".." && want != hex.EncodeToString(head[at:at+1]) {
			return false
		}
	}
	return true
}

// magic is the table that all clients have: the first rule that holds tells. A test keeps it equal
// to the common one.
var magic = []magicRule{
	{"52494646........57415645", "audio/wav"},
	{"52494646........57454250", "image/webp"},
	{"52494646........41564920", "video/x-msvideo"},
	{"494433", "audio/mpeg"},
	{"664c6143", "audio/flac"},
	{"4f676753", "audio/ogg"},
	{"2321414d52", "audio/amr"},
	{"fff1", "audio/aac"},
	{"fff9", "audio/aac"},
	{"fffb", "audio/mpeg"},
	{"fffa", "audio/mpeg"},
	{"fff3", "audio/mpeg"},
	{"fff2", "audio/mpeg"},
	{"........667479704d3441", "audio/mp4"},
	{"........6674797068656963", "image/heic"},
	{"........667479707174", "video/quicktime"},
	{"........66747970", "video/mp4"},
	{"89504e470d0a1a0a", "image/png"},
	{"ffd8ff", "image/jpeg"},
	{"47494638", "image/gif"},
	{"424d", "image/bmp"},
	{"49492a00", "image/tiff"},
	{"4d4d002a", "image/tiff"},
	{"1a45dfa3", "video/webm"},
	{"464c5601", "video/x-flv"},
}

var extensions = map[string]string{
	"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg",
	"opus": "audio/opus", "amr": "audio/amr", "aac": "audio/aac", "m4a": "audio/mp4",
	"pcm": "audio/pcm",
	"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
	"bmp": "image/bmp", "webp": "image/webp", "tif": "image/tiff", "tiff": "image/tiff",
	"heic": "image/heic",
	"mp4":  "video/mp4", "mov": "video/quicktime", "avi": "video/x-msvideo",
	"mkv": "video/x-matroska", "webm": "video/webm", "flv": "video/x-flv",
}
