// Command stream prints an answer as it is made, and leaves another one early.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/dashgate/dashgate/clients/go"
)

func main() {
	client, err := dashgate.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text("Tell me a short story."))
	if err := tell(ctx, client, conversation); err != nil {
		log.Fatal(err)
	}
	if err := leave(ctx, client, conversation); err != nil {
		log.Fatal(err)
	}
}

func tell(ctx context.Context, client *dashgate.Client, conversation *dashgate.Conversation) error {
	// region stream
	stream := client.Stream(ctx, conversation)
	for text, err := range stream.TextDeltas() {
		if err != nil {
			return err
		}
		fmt.Print(text)
	}
	answer, err := stream.Final()
	if err != nil {
		return err
	}
	fmt.Printf("\n%d tokens out, call %s\n", answer.Usage().GetOutputTokens(), answer.RequestID())
	// endregion
	return nil
}

func leave(ctx context.Context, client *dashgate.Client, conversation *dashgate.Conversation) error {
	// region cancel
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for event, err := range client.Stream(ctx, conversation).Events() {
		if err != nil {
			return err
		}
		if event.GetDelta().GetText() != "" {
			break // This also cancels the request to DashScope.
		}
	}
	// endregion
	return nil
}
