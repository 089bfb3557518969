// Command live talks to a model with a recording, and has a text spoken.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/dashgate/dashgate/clients/go"
	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func main() {
	client, err := dashgate.New("")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	wave, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	// The samples follow a header of 44 bytes. The silence after them ends the turn.
	speech, err := talk(ctx, client, append(wave[44:], make([]byte, 38400)...))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(speech), "bytes of speech")
	if speech, err = speak(ctx, client); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(speech), "bytes of speech")
}

func talk(ctx context.Context, client *dashgate.Client, audio []byte) (speech []byte, err error) {
	// region live
	session := client.Live(ctx, &dashgatev1.LiveSetup{Model: "qwen3-omni-flash-realtime"})
	defer session.Close()
	go func() {
		// 16-bit PCM at 16 kHz, usually from a microphone. Errors are also returned by Events.
		for len(audio) > 0 {
			piece := audio[:min(3200, len(audio))]
			audio = audio[len(piece):]
			if session.SendAudio(piece) != nil {
				return
			}
		}
		_ = session.Finish()
	}()
	for event, err := range session.Events() {
		if err != nil {
			return nil, err
		}
		switch event := event.Event.(type) {
		case *dashgatev1.ConverseLiveResponse_SpeechStarted:
			// Stop playing: the running answer is cancelled.
		case *dashgatev1.ConverseLiveResponse_InputTranscript:
			if event.InputTranscript.GetFinal() {
				fmt.Println("You:", event.InputTranscript.GetText())
			}
		case *dashgatev1.ConverseLiveResponse_ResponseStarted:
			fmt.Print("Model: ")
		case *dashgatev1.ConverseLiveResponse_ResponseDelta:
			fmt.Print(event.ResponseDelta.GetTranscript())
			speech = append(speech, event.ResponseDelta.GetAudio()...) // PCM at 24 kHz: play it.
		case *dashgatev1.ConverseLiveResponse_ResponseCompleted:
			fmt.Println()
		}
	}
	// endregion
	return speech, nil
}

func speak(ctx context.Context, client *dashgate.Client) (speech []byte, err error) {
	// region speak
	session := client.Speak(ctx, &dashgatev1.SynthesisSetup{
		Model: "qwen3-tts-flash-realtime", Voice: "Cherry",
	})
	defer session.Close()
	for _, text := range []string{"The text is spoken ", "while it is written."} {
		if err := session.SendText(text); err != nil {
			return nil, err
		}
	}
	if err := session.Finish(); err != nil {
		return nil, err
	}
	for audio, err := range session.Audio() {
		if err != nil {
			return nil, err
		}
		speech = append(speech, audio...)
	}
	// endregion
	return speech, nil
}
