// Command stored talks in a conversation that the gateway stores. The gateway needs a store.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

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
	for _, show := range []func(context.Context, *dashgate.Client) error{talk, manage} {
		if err := show(ctx, client); err != nil {
			log.Fatal(err)
		}
	}
}

func talk(ctx context.Context, client *dashgate.Client) error {
	// region stored
	stored, err := client.CreateConversation(ctx, "", dashgate.WithModel("qwen3.6-plus"))
	if err != nil {
		return err
	}
	conversation := dashgate.NewConversation("").Named(stored.GetName())
	for _, question := range []string{"Name a river.", "Where does it begin?"} {
		answer, err := client.Converse(ctx, conversation.User(dashgate.Text(question)))
		var failed *dashgate.Error
		if errors.As(err, &failed) && failed.Reason == dashgatev1.ErrorReason_STALE_CONVERSATION {
			return errors.New("another process made a turn in between")
		}
		if err != nil {
			return err
		}
		fmt.Println(answer.Text())
		conversation.Append(answer)
	}
	// endregion
	return nil
}

func manage(ctx context.Context, client *dashgate.Client) error {
	// region manage
	for stored, err := range client.ListConversations(ctx) {
		if err != nil {
			return err
		}
		fmt.Println(stored.GetName(), stored.GetTurnCount(), "turns")
		for turn, err := range client.ListTurns(ctx, stored.GetName(), dashgate.WithNewestFirst(true)) {
			if err != nil {
				return err
			}
			fmt.Println(" ", turn.GetNumber(), turn.GetState())
		}
		if err := client.DeleteConversation(ctx, stored.GetName()); err != nil {
			return err
		}
	}
	// endregion
	return nil
}
