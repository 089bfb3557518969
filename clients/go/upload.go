package dashgate

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// chunkSize is large enough to make the framing negligible, and small enough for many concurrent
// uploads.
const chunkSize = 256 << 10

// UploadFile uploads a file, by its path or file: URI, to DashScope's storage. Pass the returned URI
// to AudioURI, ImageURI or VideoURI.
func (c *Client) UploadFile(
	ctx context.Context, model, path string, options ...CallOption,
) (*dashgatev1.UploadMediaResponse, error) {
	file, _, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return c.Upload(ctx, model, file, options...)
}

// Upload uploads the bytes of a reader to DashScope's storage, in chunks. The default of WithName is
// the name of an open file.
func (c *Client) Upload(
	ctx context.Context, model string, source io.Reader, options ...CallOption,
) (*dashgatev1.UploadMediaResponse, error) {
	call := c.newCall(options)
	if refused := call.refuse(ctx); refused != nil {
		return nil, refused
	}
	if isNil(source) {
		return nil, nilArgument("source", call.requestID)
	}
	if named, ok := source.(interface{ Name() string }); ok && call.name == "" {
		call.name = filepath.Base(named.Name())
	}
	ctx, record := c.log.begin(ctx, "UploadMedia", call.requestID)
	response, err := c.upload(ctx, model, source, &call)
	record.end(err)
	return response, err
}

func (c *Client) upload(
	ctx context.Context, model string, source io.Reader, call *call,
) (*dashgatev1.UploadMediaResponse, error) {
	ctx, cancel := withTimeout(ctx, call.timeout, c.settings.timeout, unaryTimeout)
	// Cancels the call if this function returns early.
	defer cancel()

	chunk := make([]byte, chunkSize)
	length, err := io.ReadFull(source, chunk)
	if err != nil && !isEnd(err) {
		return nil, err
	}
	description := &dashgatev1.MediaDescription{
		Model:     model,
		Name:      call.name,
		MimeType:  cmp.Or(call.mimeType, sniff(chunk[:length], call.name, "")),
		SizeBytes: size(source, length),
	}
	stream, err := c.Media().UploadMedia(c.Outgoing(ctx, call.withRequestID()))
	if err != nil {
		return nil, newError(ctx, err, responseMetadata{}, call.requestID)
	}
	sent := stream.Send(&dashgatev1.UploadMediaRequest{
		Payload: &dashgatev1.UploadMediaRequest_Description{Description: description},
	})
	// A failed send means that the call has ended; its status is read below.
	for sent == nil && length > 0 {
		sent = stream.Send(&dashgatev1.UploadMediaRequest{
			Payload: &dashgatev1.UploadMediaRequest_Chunk{Chunk: chunk[:length]},
		})
		length, err = io.ReadFull(source, chunk)
		if err != nil && !isEnd(err) {
			return nil, err
		}
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return nil, newError(ctx, err, metadataOf(stream), call.requestID)
	}
	return response, nil
}

func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// size returns the total size, if the reader can report it; already is how much was read.
func size(source io.Reader, already int) *int64 {
	total := int64(already)
	switch source := source.(type) {
	case interface{ Len() int }:
		total += int64(source.Len())
	case io.Seeker:
		here, err := source.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil
		}
		end, err := source.Seek(0, io.SeekEnd)
		if err != nil {
			return nil
		}
		if _, err := source.Seek(here, io.SeekStart); err != nil {
			return nil
		}
		total += end - here
	default:
		return nil
	}
	return &total
}
