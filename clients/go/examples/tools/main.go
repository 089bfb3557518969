// Command tools runs a tool that the model calls, prints an error, and uses the generated stub.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"google.golang.org/protobuf/proto"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func main() {
	client, err := dashgate.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, show := range []func(context.Context, *dashgate.Client) error{tools, refused, stubs} {
		if err := show(context.Background(), client); err != nil {
			log.Fatal(err)
		}
	}
}

func tools(ctx context.Context, client *dashgate.Client) error {
	// region tools
	type Place struct {
		City string `json:"city" description:"The name of the city."`
	}
	type Weather struct {
		Sky     string `json:"sky"`
		Celsius int    `json:"celsius"`
	}
	weather, err := dashgate.NewTool("weather", "The weather in a city, now.",
		func(_ context.Context, _ Place) (Weather, error) { return Weather{"clear", 21}, nil })
	if err != nil {
		return err
	}
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text("How is the weather in Oslo?"))
	answer, err := client.RunTools(ctx, conversation, []dashgate.Tool{weather})
	if err != nil {
		return err
	}
	fmt.Println(answer.Text())
	// endregion
	return streamed(ctx, client, weather)
}

func streamed(ctx context.Context, client *dashgate.Client, weather dashgate.Tool) error {
	// region stream-tools
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text("And in Bergen?"))
	stream := client.StreamTools(ctx, conversation, []dashgate.Tool{weather}, dashgate.WithParallel(true))
	for text, err := range stream.TextDeltas() {
		if err != nil {
			return err
		}
		fmt.Print(text)
	}
	// endregion
	fmt.Println()
	return nil
}

func refused(ctx context.Context, client *dashgate.Client) error {
	// region errors
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.ImageURI("/a/path"))
	_, err := client.Converse(ctx, conversation)
	var failed *dashgate.Error
	if !errors.As(err, &failed) {
		return err
	}
	fmt.Println(failed.Code, failed.RawReason, failed.Message)
	for _, wrong := range failed.FieldViolations {
		fmt.Println("  wrong field", wrong.Field) // wrong.Description is in the message, too.
	}
	if after, isKnown := failed.RetryAfter(); isKnown {
		fmt.Println("  retry in", after)
	} else if failed.Retryable {
		fmt.Println("  retry some time later") // The gateway was not reached.
	}
	fmt.Println("  request id", failed.RequestID)
	// endregion
	return nil
}

func stubs(ctx context.Context, client *dashgate.Client) error {
	// region stubs
	response, err := client.Conversations().Converse(client.Outgoing(ctx, nil), &dashgatev1.ConverseRequest{
		Conversation: dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text("Hello!")).Raw,
		Options:      &dashgatev1.GenerationOptions{Temperature: proto.Float64(0.2)},
	})
	if err != nil {
		return err
	}
	fmt.Println(response.GetChoices()[0].GetMessage().GetContent()[0].GetText())
	// endregion
	return nil
}
