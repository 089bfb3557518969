package recipes

import (
	"context"
	"sync"

	"github.com/dashgate/dashgate/clients/go"
)

// region batch

// Description is what a model says about a file, or why it does not.
type Description struct {
	Path string
	Text string
	Err  error
}

// DescribeAll asks about each file, with a bounded number of calls at once. A file that fails does
// not stop the others. progress is called after each file.
func DescribeAll(
	ctx context.Context, client *dashgate.Client, paths []string, workers int,
	progress func(done, all int),
) []Description {
	descriptions := make([]Description, len(paths))
	next := make(chan int)
	var lock sync.Mutex
	var group sync.WaitGroup
	done := 0
	for range workers {
		group.Go(func() {
			for at := range next {
				text, err := describe(ctx, client, paths[at])
				descriptions[at] = Description{paths[at], text, err}
				lock.Lock()
				done++
				progress(done, len(paths))
				lock.Unlock()
			}
		})
	}
	for at := range paths {
		next <- at // After the end of the context, calls fail at once.
	}
	close(next)
	group.Wait()
	return descriptions
}

func describe(ctx context.Context, client *dashgate.Client, path string) (string, error) {
	recording, err := dashgate.AudioFile(path) // Large files are uploaded by the call.
	if err != nil {
		return "", err
	}
	conversation := dashgate.NewConversation("qwen-audio-turbo")
	conversation.User(recording, dashgate.Text("What is said in this audio?"))
	answer, err := client.Converse(ctx, conversation, dashgate.WithMaxRetries(5))
	if err != nil {
		return "", err
	}
	return answer.Text(), nil
}

// endregion
