// Command tools runs a tool that the model calls, prints an error, and uses the generated stub.
package main

import (
	"context"
	"encoding/json"
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
	weather := dashgate.Tool{
		Name:        "weather",
		Description: "The weather in a city, now.",
		Parameters:  `{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`,
		Function: func(_ context.Context, arguments string) (string, error) {
			var asked struct{ City string }
			if err := json.Unmarshal([]byte(arguments), &asked); err != nil {
				return "", err
			}
			return fmt.Sprintf(`{"city":%q,"sky":"clear","celsius":21}`, asked.City), nil
		},
	}
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text("How is the weather in Oslo?"))
	answer, err := client.RunTools(ctx, conversation, []dashgate.Tool{weather})
	if err != nil {
		return err
	}
	fmt.Println(answer.Text())
	// endregion
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
		fmt.Printf("  %s: %s\n", wrong.Field, wrong.Description)
	}
	if after, ok := failed.RetryAfter(); ok {
		fmt.Println("  retry in", after)
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
