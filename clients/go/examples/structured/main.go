// Command structured gets an answer as a value of a Go type, and reads a list of messages.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/dashgate/dashgate/clients/go"
)

func main() {
	client, err := dashgate.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	for _, show := range []func(context.Context, *dashgate.Client) error{messages, structured} {
		if err := show(ctx, client); err != nil {
			log.Fatal(err)
		}
	}
}

func structured(ctx context.Context, client *dashgate.Client) error {
	// region structured
	type City struct {
		Name   string   `json:"name"`
		People int      `json:"people" description:"The number of inhabitants."`
		Rivers []string `json:"rivers,omitempty"`
	}
	conversation := dashgate.NewConversation("qwen3.6-plus").User(dashgate.Text("Describe Oslo."))
	city, answer, err := dashgate.ConverseAs[City](ctx, client, conversation, dashgate.WithRepair(true))
	if err != nil {
		return err
	}
	fmt.Println(city.Name, city.People, city.Rivers, answer.RequestID())
	// endregion
	return nil
}

func messages(ctx context.Context, client *dashgate.Client) error {
	// region messages
	conversation, err := dashgate.FromMessages("qwen3-vl-plus", `[
		{"role": "system", "content": "Be brief."},
		{"role": "user", "content": [
			{"type": "text", "text": "What does this show?"},
			{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
		]}
	]`)
	if err != nil {
		return err
	}
	answer, err := client.Converse(ctx, conversation)
	if err != nil {
		return err
	}
	fmt.Println(answer.Text())
	// endregion
	return nil
}
