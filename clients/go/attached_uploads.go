package dashgate

import (
	"context"
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

// uploadKey identifies a file with its content, and what is sent with it.
type uploadKey struct {
	path, mimeType, model string
	size                  int64
	modified              int64
}

// rememberedUpload is an upload of a file. Another file may have the same key.
type rememberedUpload struct {
	file   attachedFile
	uri    string
	expiry time.Time
}

// runningUpload is an upload that is not complete.
type runningUpload struct {
	// ended is closed at its end. The URI is then empty if it failed.
	ended chan struct{}
	file  attachedFile
	uri   string
}

// uploadMemory has the uploads of a client.
type uploadMemory struct {
	lock    sync.Mutex
	uploads map[uploadKey]rememberedUpload
	order   []uploadKey
	running map[uploadKey]*runningUpload
}

func newUploadMemory() *uploadMemory {
	return &uploadMemory{
		uploads: make(map[uploadKey]rememberedUpload), running: make(map[uploadKey]*runningUpload),
	}
}

// share returns the URI of a file that is remembered or that another call uploads. Otherwise the
// caller must upload it, and then call the function with its URI, or with none if that failed:
// another caller that waits then uploads it. The error is that of the context.
func (m *uploadMemory) share(
	ctx context.Context, key uploadKey, file attachedFile,
) (uri string, ended func(string), err error) {
	for {
		m.lock.Lock()
		if uri := m.find(key, file, time.Now()); uri != "" {
			m.lock.Unlock()
			return uri, nil, nil
		}
		other := m.running[key]
		if other == nil {
			own := &runningUpload{ended: make(chan struct{}), file: file}
			m.running[key] = own
			m.lock.Unlock()
			return "", func(uri string) { m.release(key, own, uri) }, nil
		}
		m.lock.Unlock()
		select {
		case <-ctx.Done():
			return "", nil, ctx.Err()
		case <-other.ended:
			if other.uri != "" && file.isStill(other.file.info) {
				return other.uri, nil, nil
			}
		}
	}
}

func (m *uploadMemory) release(key uploadKey, own *runningUpload, uri string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.running, key)
	own.uri = uri
	close(own.ended)
}

// find returns the URI of a remembered upload, or nothing. The lock is held.
func (m *uploadMemory) find(key uploadKey, file attachedFile, now time.Time) string {
	upload, isKnown := m.uploads[key]
	if !isKnown || now.Add(uploadMargin).After(upload.expiry) || !file.isStill(upload.file.info) {
		return ""
	}
	return upload.uri
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
	if ctx.Err() != nil {
		return nil, contextError(ctx, call.requestID)
	}
	ctx = context.WithValue(ctx, partKey{}, true)
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
	// A call that waits for another one holds no open file.
	file, err := attached.open(requestID)
	if err != nil {
		return "", err
	}
	_ = file.Close()
	key := uploadKey{
		path: attached.path, mimeType: attached.mimeType, model: model,
		size: attached.info.Size(), modified: attached.info.ModTime().UnixNano(),
	}
	shared, ended, err := c.uploads.share(ctx, key, attached)
	if err != nil {
		return "", newError(ctx, waitedError(ctx, c.conn), responseMetadata{}, requestID)
	}
	if ended == nil {
		return shared, nil
	}
	uri := ""
	defer func() { ended(uri) }()
	if file, err = attached.open(requestID); err != nil {
		return "", err
	}
	defer file.Close()
	options = append(options[:len(options):len(options)], WithMIMEType(attached.mimeType))
	response, err := c.Upload(ctx, model, file, options...)
	if err != nil {
		return "", err
	}
	if now, err := file.Stat(); err != nil || !attached.isStill(now) {
		// It was written while it was read.
		return "", attached.changed(requestID, err)
	}
	if response.GetExpiresAt().IsValid() {
		c.uploads.add(key, rememberedUpload{attached, response.GetUri(), response.GetExpiresAt().AsTime()})
	}
	uri = response.GetUri()
	return uri, nil
}
