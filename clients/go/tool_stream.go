package dashgate

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc/codes"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// ToolStream is a loop of tools with streamed answers. It is read once, by one goroutine, which also
// runs the functions. Read it to its end or close it; leaving a loop over it also closes it.
type ToolStream struct {
	client *Client
	ctx    context.Context
	loop   *toolLoop
	stream *Stream
	answer *Answer
	end    error
}

// StreamTools is RunTools with streams: its events are those of all rounds in order. The functions
// run when the last event of their round has been read. Errors are returned when the stream is read.
func (c *Client) StreamTools(
	ctx context.Context, conversation *Conversation, tools []Tool, options ...CallOption,
) *ToolStream {
	loop, refused := c.newToolLoop(ctx, conversation, tools, options)
	if refused != nil {
		none := &Stream{RequestID: refused.RequestID, ctx: context.Background(), end: refused}
		return &ToolStream{stream: none}
	}
	return &ToolStream{
		client: c, ctx: ctx, loop: loop, stream: c.Stream(ctx, conversation, loop.options...),
	}
}

// Events returns an iterator over the events of all rounds; an error is the last item. Leaving the
// loop cancels the running call.
func (s *ToolStream) Events() iter.Seq2[*dashgatev1.ConverseStreamResponse, error] {
	return received(s.Recv, s.Close)
}

// TextDeltas returns an iterator over the text deltas of the first choice in all rounds; an error is
// the last item. Leaving the loop cancels the running call.
func (s *ToolStream) TextDeltas() iter.Seq2[string, error] { return textDeltas(s.Events()) }

// Recv returns the next event, or io.EOF after the last of the last round. The error may be that of a
// function, unchanged.
func (s *ToolStream) Recv() (*dashgatev1.ConverseStreamResponse, error) {
	for s.end == nil {
		event, err := s.stream.Recv()
		if err == nil {
			return event, nil
		}
		if s.end = err; errors.Is(err, io.EOF) {
			// It stays so if a function panics.
			s.end = ownError(codes.Canceled, "", s.stream.RequestID, "a function of the loop did not return")
			s.end = s.nextRound()
		}
	}
	return nil, s.end
}

// nextRound runs the functions that were requested, and calls the model again. It is io.EOF after
// the last round.
func (s *ToolStream) nextRound() error {
	answer, err := s.stream.Final()
	if err != nil {
		return err
	}
	isLast, err := s.loop.next(s.ctx, answer)
	if err != nil {
		return err
	}
	if isLast {
		s.answer = answer
		return io.EOF
	}
	s.stream = s.client.Stream(s.ctx, s.loop.conversation, s.loop.options...)
	return nil
}

// Final reads the remaining events and returns the last answer.
func (s *ToolStream) Final() (*Answer, error) {
	for {
		switch _, err := s.Recv(); {
		case errors.Is(err, io.EOF):
			return s.answer, nil
		case err != nil:
			return nil, err
		}
	}
}

// Partial returns the answer of the current round so far, as Stream.Partial does.
func (s *ToolStream) Partial() *Answer { return s.stream.Partial() }

// Headers returns the metadata of the current round, as Stream.Headers does.
func (s *ToolStream) Headers() map[string]string { return s.stream.Headers() }

// Close closes the stream, and cancels the running call if it has not ended.
func (s *ToolStream) Close() {
	if s.end == nil {
		s.stream.Close()
		// Even if the answer of this round was complete, its functions are not run any more.
		s.end = contextError(s.stream.ctx, s.stream.RequestID)
	}
}
