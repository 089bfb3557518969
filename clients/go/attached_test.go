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
	// Another content or another model is another upload.
	if err := os.WriteFile(path, append(large(), 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Converse(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	conversation.Raw.Model = "n"
	if _, err := client.Converse(t.Context(), conversation); err != nil {
		t.Fatal(err)
	}
	equal(t, "uploads", played.uploads, 6)
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

	key := uploadKey{path: "x"}
	release, err := client.uploads.claim(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.uploads.claim(ctx, key); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	release()
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
	oldest := uploadKey{path: "oldest"}
	memory.add(oldest, rememberedUpload{"oss://x", now.Add(2 * time.Hour)})
	uri, isKnown := memory.find(oldest, now)
	equal(t, "upload", []any{uri, isKnown}, []any{"oss://x", true})
	_, isKnown = memory.find(oldest, now.Add(61*time.Minute))
	equal(t, "an hour before it expires", isKnown, false)
	for size := range int64(maxUploads) {
		memory.add(uploadKey{size: size}, rememberedUpload{})
	}
	_, isKnown = memory.find(oldest, now)
	equal(t, "uploads", []any{len(memory.uploads), isKnown}, []any{maxUploads, false})
}
