// Package dashgate is a client for dashgate, a gRPC gateway for DashScope's multimodal models.
//
//	client, err := dashgate.New("")
//	...
//	defer client.Close()
//	audio, err := dashgate.AudioFile("sentence.wav")
//	...
//	conversation := dashgate.NewConversation("qwen-audio-turbo")
//	conversation.User(audio, dashgate.Text("What is said in this audio?"))
//	answer, err := client.Converse(ctx, conversation)
//
// The messages of the schema are in the package dashgatev1, which is imported as
// github.com/dashgate/dashgate/clients/go/dashgate/v1.
package dashgate

// Version is the version of this module, as sent in the user agent.
const Version = "0.1.0"
