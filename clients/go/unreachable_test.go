package dashgate

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// last returns the error that ends an iteration.
func last[Item any](items func(func(Item, error) bool)) (end error) {
	items(func(_ Item, err error) bool {
		end = err
		return true
	})
	return end
}

// forms are all forms of calls.
var forms = map[string]func(context.Context, *Client) error{
	"converse": func(ctx context.Context, client *Client) error {
		_, err := client.Converse(ctx, ask())
		return err
	},
	"converse as": func(ctx context.Context, client *Client) error {
		_, _, err := ConverseAs[city](ctx, client, ask())
		return err
	},
	"final": func(ctx context.Context, client *Client) error {
		_, err := client.Stream(ctx, ask()).Final()
		return err
	},
	"text deltas": func(ctx context.Context, client *Client) error {
		return last(client.Stream(ctx, ask()).TextDeltas())
	},
	"run tools": func(ctx context.Context, client *Client) error {
		_, err := client.RunTools(ctx, ask(), nil)
		return err
	},
	"stream tools": func(ctx context.Context, client *Client) error {
		return last(client.StreamTools(ctx, ask(), nil).Events())
	},
	"upload": func(ctx context.Context, client *Client) error {
		// More than fits into the buffers of a connection.
		_, err := client.Upload(ctx, "m", io.LimitReader(endless{}, 8<<20))
		return err
	},
	"list models": func(ctx context.Context, client *Client) error { return last(client.ListModels(ctx)) },
	"get model": func(ctx context.Context, client *Client) error {
		_, err := client.GetModel(ctx, "m")
		return err
	},
	"cancel call": func(ctx context.Context, client *Client) error { return client.CancelCall(ctx, "r") },
	"create conversation": func(ctx context.Context, client *Client) error {
		_, err := client.CreateConversation(ctx, "")
		return err
	},
	"list turns": func(ctx context.Context, client *Client) error {
		return last(client.ListTurns(ctx, "conversations/x"))
	},
	"live": func(ctx context.Context, client *Client) error {
		session := client.Live(ctx, &dashgatev1.LiveSetup{Model: "m"})
		defer session.Close()
		return last(session.Events())
	},
	"speak": func(ctx context.Context, client *Client) error {
		session := client.Speak(ctx, &dashgatev1.SynthesisSetup{Model: "m"})
		defer session.Close()
		return last(session.Audio())
	},
}

type endless struct{}

func (endless) Read(into []byte) (int, error) { return len(into), nil }

// listen returns the address of a server that does this with its connections.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			handle(conn)
		}
	}()
	return listener.Addr().String()
}

func TestEachFormOfCallWithoutAGateway(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	plain := play(t)
	for name, target := range map[string]string{
		"a closed port":            closed.Addr().String(),
		"a port that closes":       listen(t, func(conn net.Conn) { _ = conn.Close() }),
		"a server of another kind": listen(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "SSH-2.0-x\r\n") }),
		"TLS to a plaintext port":  "https://" + plain.address,
		"a name that is unknown":   "dns:///gateway.invalid",
	} {
		// Retries would take seconds.
		client, err := New(target, WithDialOptions(grpc.WithDisableRetry()))
		if err != nil {
			t.Fatal(err)
		}
		for form, call := range forms {
			t.Run(name+"/"+form, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				failed := failure(t, call(ctx, client))
				if failed.Code != codes.Unavailable || !failed.Retryable || failed.RawReason != "" ||
					errors.Is(failed, context.Canceled) {
					t.Errorf("%+v", failed)
				}
				if len(failed.RequestID) != 36 && !strings.HasPrefix(form, "cancel") {
					t.Errorf("the request id is %q", failed.RequestID)
				}
			})
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}
