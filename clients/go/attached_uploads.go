package dashgate

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

const (
	// maxUploads is how many uploads a client remembers. The oldest is forgotten first.
	maxUploads = 1000
	// uploadMargin is how long before its expiry an upload is forgotten: DashScope reads the file while
	// it answers.
	uploadMargin = time.Hour
)

var errNotRegular = errors.New("not a regular file")

// uploadKey identifies a file with its content, and the model that may read the upload.
type uploadKey struct {
	path, mimeType, model string
	size                  int64
	modified              int64
}

type rememberedUpload struct {
	uri    string
	expiry time.Time
}

// uploadMemory has the uploads of a client.
type uploadMemory struct {
	lock    sync.Mutex
	uploads map[uploadKey]rememberedUpload
	order   []uploadKey
	// running are the uploads that are not complete: each is closed at its end.
	running map[uploadKey]chan struct{}
}

func newUploadMemory() *uploadMemory {
	return &uploadMemory{
		uploads: make(map[uploadKey]rememberedUpload), running: make(map[uploadKey]chan struct{}),
	}
}

// claim waits while another call uploads the same file. The function must be called after the upload.
func (m *uploadMemory) claim(ctx context.Context, key uploadKey) (func(), error) {
	for {
		m.lock.Lock()
		other := m.running[key]
		if other == nil {
			own := make(chan struct{})
			m.running[key] = own
			m.lock.Unlock()
			return func() {
				m.lock.Lock()
				defer m.lock.Unlock()
				delete(m.running, key)
				close(own)
			}, nil
		}
		m.lock.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-other:
		}
	}
}

func (m *uploadMemory) find(key uploadKey, now time.Time) (string, bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	upload, isKnown := m.uploads[key]
	if !isKnown || now.Add(uploadMargin).After(upload.expiry) {
		return "", false
	}
	return upload.uri, true
}

func (m *uploadMemory) add(key uploadKey, upload rememberedUpload) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if _, isKnown := m.uploads[key]; !isKnown {
		if len(m.order) == maxUploads {
			delete(m.uploads, m.order[0])
			m.order = m.order[1:]
		}
		m.order = append(m.order, key)
	}
	m.uploads[key] = upload
}

// uploaded returns the conversation to send: attached files are uploaded, and their URIs replaced in
// a copy. The error is an *Error, or that of reading a file.
func (c *Client) uploaded(
	ctx context.Context, conversation *dashgatev1.Conversation, call *call,
) (*dashgatev1.Conversation, error) {
	attached := attachedURIs(conversation)
	if len(attached) == 0 {
		return conversation, nil
	}
	for _, media := range attached {
		if _, isKnown := attachedFiles.find(*media.uri); !isKnown {
			return nil, unknownFile(media.field, call.requestID)
		}
	}
	options := []CallOption{WithMetadata(withoutRequestID(call.metadata))}
	model := conversation.GetModel()
	if model == "" && conversation.GetName() != "" {
		stored, err := c.GetConversation(ctx, conversation.GetName(), options...)
		if err != nil {
			return nil, err
		}
		model = stored.GetModel()
	}
	conversation = proto.CloneOf(conversation)
	for _, media := range attachedURIs(conversation) {
		file, isKnown := attachedFiles.find(*media.uri)
		if !isKnown {
			return nil, unknownFile(media.field, call.requestID)
		}
		uri, err := c.uploadAttached(ctx, model, file, call.requestID, options)
		if err != nil {
			return nil, err
		}
		*media.uri = uri
	}
	return conversation, nil
}

// uploadAttached returns the URI of a file in DashScope's storage.
func (c *Client) uploadAttached(
	ctx context.Context, model string, attached attachedFile, requestID string, options []CallOption,
) (string, error) {
	// Opening a pipe would wait for a writer, past the deadline of the call.
	if info, err := os.Stat(attached.path); err == nil && !info.Mode().IsRegular() {
		return "", &os.PathError{Op: "open", Path: attached.path, Err: errNotRegular}
	}
	file, err := os.Open(attached.path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	key := uploadKey{
		path: attached.path, mimeType: attached.mimeType, model: model,
		size: info.Size(), modified: info.ModTime().UnixNano(),
	}
	release, err := c.uploads.claim(ctx, key)
	if err != nil {
		return "", contextError(ctx, requestID)
	}
	defer release()
	if uri, isKnown := c.uploads.find(key, time.Now()); isKnown {
		return uri, nil
	}
	options = append(options[:len(options):len(options)], WithMIMEType(attached.mimeType))
	response, err := c.Upload(ctx, model, file, options...)
	if err != nil {
		return "", err
	}
	if response.GetExpiresAt().IsValid() {
		c.uploads.add(key, rememberedUpload{response.GetUri(), response.GetExpiresAt().AsTime()})
	}
	return response.GetUri(), nil
}
