package dashgate

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// large returns the bytes of a file that is uploaded.
func large() []byte { return append([]byte("RIFF....WAVE"), make([]byte, largeFile)...) }

func TestLargeFilesAreUploadedOnce(t *testing.T) {
	played := play(t)
	client := played.client(t)
	path := written(t, "a.wav", large())
	part, err := AudioFile("file://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if uri := part.GetAudio().GetUri(); !strings.HasPrefix(uri, attachedScheme) || strings.Contains(uri, "a.wav") {
		t.Error(uri)
	}
	frame, err := ImageFile(path, WithMIMEType("image/png"))
	if err != nil {
		t.Fatal(err)
	}
	conversation := NewConversation("m").User(part, VideoFrames(frame, ImageURI("https://x")), Text("?"))
	before := proto.CloneOf(conversation.Raw)
	options := WithMetadata(map[string]string{"x-team": "a", "x-request-id": "mine"})
	for range 2 {
		if _, err := client.Converse(t.Context(), conversation, options); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Stream(t.Context(), conversation, options).Final(); err != nil {
		t.Fatal(err)
	}
	equal(t, "the conversation stays", proto.Equal(conversation.Raw, before), true)
	equal(t, "uploads", played.uploads, 2)
	equal(t, "model and name", []string{played.uploaded.GetModel(), played.uploaded.GetName()}, []string{"m", "a.wav"})
	sent := played.conversations[1].GetConversation().GetMessages()[0].GetContent()
	equal(t, "audio", sent[0].GetAudio().GetUri(), "oss://1")
	equal(t, "frame", sent[1].GetVideo().GetFrames().GetFrames()[0].GetUri(), "oss://2")
	equal(t, "type", sent[0].GetAudio().GetMimeType(), "audio/wav")
	for _, seen := range played.metadata[:2] {
		equal(t, "metadata", seen.Get("x-team"), []string{"a"})
		if id := seen.Get("x-request-id")[0]; len(id) != 36 {
			t.Error("an upload has a request id of its own:", id)
		}
	}
	// Another model or another type is another upload.
	conversation.Raw.Model = "n"
	if _, err := client.Converse(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	equal(t, "uploads", played.uploads, 4)
}

func TestConcurrentCallsShareAnUpload(t *testing.T) {
	played := play(t)
	client := played.client(t)
	part, err := AudioFile(written(t, "a.wav", large()))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := client.Converse(t.Context(), NewConversation("m").User(part)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	equal(t, "uploads", played.uploads, 1)
	equal(t, "nothing is left", len(client.uploads.running), 0)
}

func TestAWaitingCallMakesTheUploadThatAnotherOneLeft(t *testing.T) {
	client := play(t).client(t)
	file := attached(t, written(t, "a.wav", large()))
	key := uploadKey{path: file.path}
	_, ended, err := client.uploads.share(t.Context(), key, file)
	if err != nil || ended == nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := client.uploads.share(gone, key, file); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	makes, shares := make(chan func(string), 2), make(chan string, 2)
	for range 2 {
		go func() {
			uri, ended, _ := client.uploads.share(t.Context(), key, file)
			if ended != nil {
				makes <- ended
			} else {
				shares <- uri
			}
		}()
	}
	ended("")
	(<-makes)("oss://x")
	// The other one has it although it is not remembered, unless it came later.
	select {
	case uri := <-shares:
		equal(t, "uri", uri, "oss://x")
	case ended := <-makes:
		ended("")
	}
	equal(t, "nothing is left", len(client.uploads.running), 0)
}

func TestAnotherFileIsNotSentInPlaceOfTheAttachedOne(t *testing.T) {
	played := play(t)
	client := played.client(t)
	path := written(t, "a.wav", large())
	for what, change := range map[string]func() error{
		"size": func() error { return os.WriteFile(path, append(large(), 0), 0o600) },
		"time": func() error { return os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)) },
		"file": func() error {
			info, _ := os.Stat(path)
			other := written(t, "b.wav", large())
			return errors.Join(os.Chtimes(other, time.Time{}, info.ModTime()), os.Rename(other, path))
		},
		"folder": func() error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.Remove(path), os.Symlink(t.TempDir(), path))
		},
	} {
		_ = os.Remove(path)
		if err := os.WriteFile(path, large(), 0o600); err != nil {
			t.Fatal(err)
		}
		part, err := AudioFile(path)
		if err != nil {
			t.Fatal(err)
		}
		conversation := NewConversation("m").User(part)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		_, unary := client.Converse(t.Context(), conversation)
		_, streamed := client.Stream(t.Context(), conversation).Final()
		for _, err := range []error{unary, streamed} {
			failed := failure(t, err)
			equal(t, what, failed.Code, codes.InvalidArgument)
			if !strings.Contains(failed.Message, path) || !strings.Contains(failed.Message, "attach the file again") {
				t.Error(failed.Message)
			}
		}
	}
	equal(t, "calls", len(played.names), 0)
}

func TestAnUploadIsNotRememberedForAnotherFileOfItsName(t *testing.T) {
	path := written(t, "a.wav", large())
	one := attached(t, path)
	other := attached(t, written(t, "b.wav", large()))
	memory, key := newUploadMemory(), uploadKey{path: path}
	memory.add(key, rememberedUpload{one, "oss://x", time.Now().Add(48 * time.Hour)})
	equal(t, "the same", memory.find(key, one, time.Now()), "oss://x")
	equal(t, "another", memory.find(key, other, time.Now()), "")
}

// attached returns a file as AudioFile attaches it.
func attached(t *testing.T, path string) attachedFile {
	t.Helper()
	part, err := AudioFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, _ := attachedFiles.find(part.GetAudio().GetUri())
	return file
}

func TestFileThatIsGone(t *testing.T) {
	played := play(t)
	path := written(t, "a.wav", large())
	part, err := AudioFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	client, conversation := played.client(t), NewConversation("m").User(part)
	_, unary := client.Converse(t.Context(), conversation)
	_, streamed := client.Stream(t.Context(), conversation).Final()
	for _, err := range []error{unary, streamed} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Error(err)
		}
	}
	equal(t, "calls", len(played.names), 0)
}

func TestFileOfAnotherProcess(t *testing.T) {
	played := play(t)
	conversation := ask().User(VideoFrames(ImageURI("https://x"), ImageURI(attachedScheme+"7")))
	_, err := played.client(t).Converse(t.Context(), conversation)
	failed := failure(t, err)
	equal(t, "code", failed.Code, codes.InvalidArgument)
	equal(t, "reason", failed.Reason, dashgatev1.ErrorReason_INVALID_REQUEST)
	equal(t, "field", failed.FieldViolations[0].Field, "conversation.messages[1].content[0].video.frames.frames[1].uri")
	equal(t, "calls", len(played.names), 0)
}

func TestUploadEndsWithTheDeadlineOfItsCall(t *testing.T) {
	played := play(t)
	played.stalled = true
	part, err := AudioFile(written(t, "a.wav", large()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = played.client(t).Converse(
		t.Context(), NewConversation("m").User(part), WithTimeout(50*time.Millisecond))
	if failed := failure(t, err); failed.Code != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestWhatIsRememberedHasLimits(t *testing.T) {
	table := fileTable{files: make(map[string]attachedFile)}
	first := table.add(attachedFile{path: "first"})
	for range maxAttachedFiles {
		table.add(attachedFile{})
	}
	_, isKnown := table.find(first)
	equal(t, "files", []any{len(table.files), isKnown}, []any{maxAttachedFiles, false})

	memory, now := newUploadMemory(), time.Now()
	oldest, file := uploadKey{path: "oldest"}, attached(t, written(t, "a.wav", large()))
	memory.add(oldest, rememberedUpload{file, "oss://x", now.Add(2 * time.Hour)})
	equal(t, "upload", memory.find(oldest, file, now), "oss://x")
	equal(t, "an hour before it expires", memory.find(oldest, file, now.Add(61*time.Minute)), "")
	for size := range int64(maxUploads) {
		memory.add(uploadKey{size: size}, rememberedUpload{})
	}
	equal(t, "the oldest", memory.find(oldest, file, now), "")
	equal(t, "uploads", len(memory.uploads), maxUploads)
}
