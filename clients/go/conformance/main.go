// Command conformance runs one case of tests/conformance: a job on standard input, a result on
// standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dashgate/dashgate/clients/go"
)

func main() {
	if err := play(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(2)
	}
}

func play(input io.Reader, output io.Writer) error {
	decoder := json.NewDecoder(input)
	decoder.DisallowUnknownFields()
	var job job
	if err := decoder.Decode(&job); err != nil {
		return err
	}
	client, err := connect(job)
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if after := job.Call.Cancel.AfterMs; after > 0 {
		timer := time.AfterFunc(milliseconds(after), cancel)
		defer timer.Stop()
	}
	begun := time.Now()
	player := player{client: client, call: job.Call, cancel: cancel}
	if err := player.play(ctx); err != nil {
		var failed *dashgate.Error
		var refused refusedMessages
		switch {
		case errors.As(err, &refused):
			player.result.Error = &failure{Code: "INVALID_ARGUMENT", Message: refused.Error()}
		case !errors.As(err, &failed):
			return err
		default:
			if player.result.Error, err = failureOf(failed); err != nil {
				return err
			}
		}
	}
	player.result.Elapsed = time.Since(begun).Milliseconds()
	encoder := json.NewEncoder(output)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(player.result)
}

func connect(job job) (*dashgate.Client, error) {
	var options []dashgate.ClientOption
	if job.Options.APIKey != nil {
		options = append(options, dashgate.WithAPIKey(*job.Options.APIKey))
	}
	if files := job.Options.TLS; files != nil {
		config, err := dashgate.TLSFromFiles(files.CA, files.Cert, files.Key, files.ServerName)
		if err != nil {
			return nil, err
		}
		options = append(options, dashgate.WithTLS(config))
	}
	if limit := job.Options.Timeout; limit != nil {
		options = append(options, dashgate.WithTimeout(milliseconds(*limit)))
	}
	if limit := job.Options.IdleTimeout; limit != nil {
		options = append(options, dashgate.WithIdleTimeout(milliseconds(*limit)))
	}
	if job.Options.Metadata != nil {
		options = append(options, dashgate.WithMetadata(job.Options.Metadata))
	}
	if job.Options.MaxRetries != nil {
		options = append(options, dashgate.WithMaxRetries(*job.Options.MaxRetries))
	}
	return dashgate.New(job.Target, options...)
}

func milliseconds(count float64) time.Duration {
	return time.Duration(count * float64(time.Millisecond))
}
