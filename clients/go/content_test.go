package dashgate

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func written(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilesOfAllKinds(t *testing.T) {
	path := written(t, "a b%.wav", []byte("RIFF....WAVE"))
	uri := (&url.URL{Scheme: "file", Path: path}).String()
	for _, named := range []string{path, uri, strings.Replace(uri, "file://", "file:", 1), strings.Replace(uri, "file://", "file://localhost", 1)} {
		part, err := AudioFile(named)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, named, string(part.GetAudio().GetData()), "RIFF....WAVE")
		equal(t, named, part.GetAudio().GetMimeType(), "audio/wav")
	}
	image, err := ImageFile(path, WithMIMEType("image/x"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "image", image.GetImage().GetMimeType(), "image/x")
	video, err := VideoFile(path)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "video", string(video.GetVideo().GetData()), "RIFF....WAVE")
}

func TestFilesThatCannotBeRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.wav")
	for _, path := range []string{missing, "file://" + missing, t.TempDir(), "file://elsewhere/x", "file:relative"} {
		_, err := AudioFile(path)
		var failed *fs.PathError
		if !errors.As(err, &failed) || !strings.Contains(path, failed.Path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := AudioFile(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestReaders(t *testing.T) {
	file, err := os.Open(written(t, "a.amr", []byte("no known beginning")))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	part, err := AudioReader(file)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "type by the name", part.GetAudio().GetMimeType(), "audio/amr")
	equal(t, "data", string(part.GetAudio().GetData()), "no known beginning")
	image, err := ImageReader(strings.NewReader("GIF89a"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "type by the bytes", image.GetImage().GetMimeType(), "image/gif")
	video, err := VideoReader(strings.NewReader("x"), WithMIMEType("video/y"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "type of the caller", video.GetVideo().GetMimeType(), "video/y")
	broken := errors.New("broken")
	if _, err := AudioReader(failing{broken}); err != broken {
		t.Error(err)
	}
}

func TestConversationAsJSON(t *testing.T) {
	conversation := ask().System("s").User(AudioBytes([]byte("RIFF....WAVE")), VideoFrames(ImageURI("https://x")))
	written, err := conversation.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var read Conversation
	if err := read.UnmarshalJSON(written); err != nil {
		t.Fatal(err)
	}
	again, err := read.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "JSON", string(again), string(written))
	equal(t, "messages", len(read.Raw.GetMessages()), 3)
	if err := read.UnmarshalJSON([]byte(`{"smell":1}`)); err == nil {
		t.Error("unknown keys are errors")
	}
	answer := &Answer{Raw: &dashgatev1.ConverseResponse{RequestId: "r"}}
	text, err := answer.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "answer", string(text), `{"requestId":"r"}`)
}
