// Package dashgate talks with Qwen models that listen and look, through a dashgate gateway.
//
//	client, err := dashgate.New("")
//	...
//	defer client.Close()
//	sound, err := dashgate.AudioFile("sentence.wav")
//	...
//	conversation := dashgate.NewConversation("qwen-audio-turbo")
//	conversation.User(sound, dashgate.Text("What is said in this audio?"))
//	answer, err := client.Converse(ctx, conversation)
//
// The messages of the schema are in the package dashgatev1 below.
package dashgate

// Version is the version of this module, as the gateway sees it in the user agent.
const Version = "0.1.0"
