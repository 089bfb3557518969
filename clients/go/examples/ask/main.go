// Command ask asks about an audio file.
//
// region five-lines
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/dashgate/dashgate/clients/go"
)

const welcome = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3"

func main() {
	client, err := dashgate.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	conversation := dashgate.NewConversation("qwen-audio-turbo")
	conversation.User(dashgate.AudioURI(welcome), dashgate.Text("What is said in this audio?"))
	answer, err := client.Converse(context.Background(), conversation)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Text())
}

// endregion
