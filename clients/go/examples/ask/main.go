// Command ask asks one question.
//
// region five-lines
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
	conversation := dashgate.NewConversation("qwen-plus").User(dashgate.Text("Say hello to a new listener."))
	answer, err := client.Converse(context.Background(), conversation)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Text())
}

// endregion
