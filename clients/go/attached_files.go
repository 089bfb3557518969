package dashgate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

const (
	// attachedScheme is the scheme of the URIs of large files. They are known to this process only, so
	// that a message from somewhere else cannot name a file of this machine.
	attachedScheme = "dashgate-file:"
	// maxAttachedFiles is how many are known. The oldest is forgotten first.
	maxAttachedFiles = 10_000
)

// attachedFile is a file that is uploaded by the first call with its URI.
type attachedFile struct {
	path, mimeType string
	// info is what the path named then.
	info fs.FileInfo
}

// isStill is whether a file is the attached one, unchanged.
func (f attachedFile) isStill(now fs.FileInfo) bool {
	return os.SameFile(f.info, now) && f.info.Size() == now.Size() && f.info.ModTime().Equal(now.ModTime())
}

// open opens the file if it is the attached one. The error is an *Error if it is another one, or that
// of the file.
func (f attachedFile) open(requestID string) (*regularFile, error) {
	file, info, err := openRegular(f.path)
	switch {
	case errors.Is(err, errNotRegular):
		return nil, f.changed(requestID, err)
	case err != nil:
		return nil, err
	case !f.isStill(info):
		_ = file.Close()
		return nil, f.changed(requestID, nil)
	}
	return file, nil
}

// changed is the error of a file that is not the attached one any more.
func (f attachedFile) changed(requestID string, cause error) *Error {
	failed := ownError(codes.InvalidArgument, "INVALID_REQUEST", requestID,
		"%s is not the file that was attached any more: attach the file again", f.path)
	failed.cause = cause
	return failed
}

// fileTable has the files of a process by their URIs.
type fileTable struct {
	lock  sync.Mutex
	files map[string]attachedFile
	order []string
}

var attachedFiles = fileTable{files: make(map[string]attachedFile)}

// add returns the URI of a file.
func (t *fileTable) add(file attachedFile) string {
	uri := attachedScheme + newUUID()
	t.lock.Lock()
	defer t.lock.Unlock()
	if len(t.order) == maxAttachedFiles {
		delete(t.files, t.order[0])
		t.order = t.order[1:]
	}
	t.files[uri] = file
	t.order = append(t.order, uri)
	return uri
}

func (t *fileTable) find(uri string) (attachedFile, bool) {
	t.lock.Lock()
	defer t.lock.Unlock()
	file, isKnown := t.files[uri]
	return file, isKnown
}

// mediaURI is a URI in a message, with its path in the request.
type mediaURI struct {
	field string
	uri   *string
}

// attachedURIs returns the URIs of attached files in a conversation.
func attachedURIs(conversation *dashgatev1.Conversation) []mediaURI {
	var found []mediaURI
	add := func(uri *string, format string, values ...any) {
		if strings.HasPrefix(*uri, attachedScheme) {
			found = append(found, mediaURI{fmt.Sprintf(format, values...), uri})
		}
	}
	for i, message := range conversation.GetMessages() {
		for j, part := range message.GetContent() {
			const format = "conversation.messages[%d].content[%d].%s.uri"
			if source, ok := part.GetAudio().GetSource().(*dashgatev1.Audio_Uri); ok {
				add(&source.Uri, format, i, j, audioKind)
			}
			if source, ok := part.GetImage().GetSource().(*dashgatev1.Image_Uri); ok {
				add(&source.Uri, format, i, j, imageKind)
			}
			if source, ok := part.GetVideo().GetSource().(*dashgatev1.Video_Uri); ok {
				add(&source.Uri, format, i, j, videoKind)
			}
			for k, frame := range part.GetVideo().GetFrames().GetFrames() {
				if source, ok := frame.GetSource().(*dashgatev1.Image_Uri); ok {
					add(&source.Uri, format, i, j, fmt.Sprintf("video.frames.frames[%d]", k))
				}
			}
		}
	}
	return found
}

// unknownFile returns the error of a URI of another process, or of one that was forgotten.
func unknownFile(field, requestID string) *Error {
	const fix = "is a file of another process, or was forgotten: attach the file again"
	failed := ownError(codes.InvalidArgument, "INVALID_REQUEST", requestID, "%s %s", field, fix)
	failed.FieldViolations = []FieldViolation{{Field: field, Description: fix}}
	return failed
}
