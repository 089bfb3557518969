package dashgate

import (
	"errors"
	"io"
	"iter"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// received iterates over what a function returns until io.EOF; an error is the last item. At the end,
// or when the loop is left, done is called.
func received[Item any](receive func() (Item, error), done func()) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		defer done()
		for {
			item, err := receive()
			if errors.Is(err, io.EOF) || !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// textDeltas iterates over the text of the first choice; an error is the last item.
func textDeltas(events iter.Seq2[*dashgatev1.ConverseStreamResponse, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for event, err := range events {
			delta := event.GetDelta()
			text := delta.GetText()
			if err == nil && (delta.GetChoiceIndex() != 0 || text == "") {
				continue
			}
			if !yield(text, err) {
				return
			}
		}
	}
}
