// Command conversation asks about an audio file in several turns: conversation RECORDING.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("give the path of a recording")
	}
	recording := os.Args[1]
	client, err := dashgate.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := talk(context.Background(), client, recording); err != nil {
		log.Fatal(err)
	}
	if err := upload(context.Background(), client, recording); err != nil {
		log.Fatal(err)
	}
}

func talk(ctx context.Context, client *dashgate.Client, path string) error {
	// region conversation
	recording, err := dashgate.AudioFile(path)
	if err != nil {
		return err
	}
	conversation := dashgate.NewConversation("qwen-audio-turbo").System("Answer in one sentence.")
	conversation.User(recording, dashgate.Text("What is said in this audio?"))
	answer, err := client.Converse(ctx, conversation)
	if err != nil {
		return err
	}
	fmt.Println(answer.Text())

	conversation.Append(answer).User(dashgate.Text("And who says it?"))
	options := &dashgatev1.GenerationOptions{Temperature: proto.Float64(0.2), MaxTokens: proto.Int32(500)}
	answer, err = client.Converse(ctx, conversation, dashgate.WithOptions(options))
	if err != nil {
		return err
	}
	fmt.Println(answer.Text())
	// endregion
	return nil
}

func upload(ctx context.Context, client *dashgate.Client, path string) error {
	// region upload
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	uploaded, err := client.Upload(ctx, "qwen-audio-turbo", file)
	if err != nil {
		return err
	}
	conversation := dashgate.NewConversation("qwen-audio-turbo")
	conversation.User(dashgate.AudioURI(uploaded.GetUri()), dashgate.Text("How long is this?"))
	answer, err := client.Converse(ctx, conversation)
	if err != nil {
		return err
	}
	fmt.Println(answer.Text())
	// endregion
	return nil
}
