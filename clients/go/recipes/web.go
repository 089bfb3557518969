package recipes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/dashgate/dashgate/clients/go"
)

// region web

// StreamAnswer answers the question in the parameter q with server-sent events. If the browser
// leaves, the context of the request ends, and with it the call, up to DashScope.
func StreamAnswer(client *dashgate.Client) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conversation := dashgate.NewConversation("qwen3.6-plus")
		conversation.User(dashgate.Text(r.FormValue("q")))
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		for text, err := range client.Stream(r.Context(), conversation).TextDeltas() {
			if err != nil {
				_ = writeEvent(w, "error", publicError(err))
				return
			}
			if writeEvent(w, "text", text) != nil {
				return // Leaving the loop cancels the call.
			}
		}
		_ = writeEvent(w, "done", nil)
	}
}

func writeEvent(w http.ResponseWriter, name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, text); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// publicError is what a browser may know of an error.
func publicError(err error) map[string]any {
	var failed *dashgate.Error
	if !errors.As(err, &failed) {
		return map[string]any{"retryable": false}
	}
	return map[string]any{"requestId": failed.RequestID, "retryable": failed.Retryable}
}

// endregion
