package recipes

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dashgate/dashgate/clients/go"
)

// region chat

// Chat answers each line, with tools, while the answers are written. The conversation has all messages,
// also the calls of the tools and their results, but not those of a line that failed.
func Chat(ctx context.Context, client *dashgate.Client, in io.Reader, out io.Writer) error {
	clock, err := dashgate.NewTool("clock", "The time in a time zone.", timeIn)
	if err != nil {
		return err
	}
	conversation := dashgate.NewConversation("qwen3.6-plus").System("Answer in one sentence.")
	lines := bufio.NewScanner(in)
	for ; lines.Scan(); fmt.Fprintln(out) {
		before := len(conversation.Raw.Messages)
		conversation.User(dashgate.Text(lines.Text()))
		stream := client.StreamTools(ctx, conversation, []dashgate.Tool{clock})
		for text, err := range stream.TextDeltas() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				text = err.Error()
				conversation.Raw.Messages = conversation.Raw.Messages[:before] // The line can be asked again.
			}
			fmt.Fprint(out, text)
		}
	}
	return lines.Err()
}

type zone struct {
	Name string `json:"name" description:"Its name, such as Europe/Oslo."`
}

// timeIn reports what is wrong to the model, which can ask again. An error would end the loop.
func timeIn(_ context.Context, asked zone) (string, error) {
	location, err := time.LoadLocation(asked.Name)
	if err != nil {
		return err.Error(), nil
	}
	return time.Now().In(location).Format(time.RFC1123), nil
}

// endregion
