// Command ask asks one question.
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
	conversation := dashgate.NewConversation("qwen-plus").User(dashgate.Text("Hello!"))
	answer, err := client.Converse(context.Background(), conversation)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Text())
}
