// Command stream prints a streamed answer, and cancels another stream.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func main() {
	client, err := dashgate.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text("Tell me a short story."))
	for _, show := range []func(context.Context, *dashgate.Client, *dashgate.Conversation) error{tell, account, leave} {
		if err := show(ctx, client, conversation); err != nil {
			log.Fatal(err)
		}
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
	fmt.Println("\nrequest id", answer.RequestID())
	if usage := answer.Usage(); usage != nil && usage.OutputTokens != nil { // Unset is not 0.
		fmt.Println(*usage.OutputTokens, "tokens out")
	}
	// endregion
	return nil
}

func account(ctx context.Context, client *dashgate.Client, conversation *dashgate.Conversation) error {
	// region failed
	stream := client.Stream(ctx, conversation)
	_, err := stream.Final()
	var failed *dashgate.Error
	if errors.As(err, &failed) {
		if partial := stream.Partial(); partial != nil {
			fmt.Println("received so far:", partial.Text())
		}
		if failed.Usage != nil { // Billed even though the answer is incomplete.
			fmt.Printf("%s: %d tokens out\n", failed.RawReason, failed.Usage.GetOutputTokens())
		}
		if failed.Reason == dashgatev1.ErrorReason_CONTENT_BLOCKED {
			fmt.Println("DashScope blocked the answer")
		}
	}
	// endregion
	return err
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
