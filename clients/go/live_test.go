package dashgate

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

type liveServer = grpc.BidiStreamingServer[dashgatev1.ConverseLiveRequest, dashgatev1.ConverseLiveResponse]

// liveGateway plays the service: a function for each call, after its setup.
type liveGateway struct {
	dashgatev1.UnimplementedLiveServiceServer
	play  func(call int, setup *dashgatev1.LiveSetup, stream liveServer) error
	calls atomic.Int64
}

func (g *liveGateway) ConverseLive(stream liveServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	return g.play(int(g.calls.Add(1)), first.GetSetup(), stream)
}

func liveClient(
	t *testing.T, play func(call int, setup *dashgatev1.LiveSetup, stream liveServer) error,
) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	dashgatev1.RegisterLiveServiceServer(server, &liveGateway{play: play})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := New(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func startedEvent(sequence int32, resumed bool) *dashgatev1.ConverseLiveResponse {
	return &dashgatev1.ConverseLiveResponse{
		Sequence: sequence,
		Event: &dashgatev1.ConverseLiveResponse_SessionStarted{
			SessionStarted: &dashgatev1.SessionStarted{SessionId: "s", ResumeToken: "t", Resumed: resumed},
		},
	}
}

func deltaEvent(sequence int32, text string) *dashgatev1.ConverseLiveResponse {
	delta := &dashgatev1.ResponseDelta{Part: &dashgatev1.ResponseDelta_Text{Text: text}}
	return &dashgatev1.ConverseLiveResponse{
		Sequence: sequence,
		Event:    &dashgatev1.ConverseLiveResponse_ResponseDelta{ResponseDelta: delta},
	}
}

func endedEvent(sequence int32) *dashgatev1.ConverseLiveResponse {
	return &dashgatev1.ConverseLiveResponse{
		Sequence: sequence,
		Event: &dashgatev1.ConverseLiveResponse_SessionEnded{
			SessionEnded: &dashgatev1.SessionEnded{Responses: 1},
		},
	}
}

// echo answers each text with itself.
func echo(_ int, setup *dashgatev1.LiveSetup, stream liveServer) error {
	sequence := setup.GetResume().GetLastSequence()
	if setup.GetResume() == nil {
		sequence = 1
	}
	if err := stream.Send(startedEvent(sequence, setup.GetResume() != nil)); err != nil {
		return err
	}
	for {
		request, err := stream.Recv()
		sequence++
		if errors.Is(err, io.EOF) {
			return stream.Send(endedEvent(sequence))
		}
		if err != nil {
			return err
		}
		if err := stream.Send(deltaEvent(sequence, request.GetText())); err != nil {
			return err
		}
	}
}

func recv(t *testing.T, session *LiveSession) *dashgatev1.ConverseLiveResponse {
	t.Helper()
	event, err := session.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func TestLiveMessagesAndEventsAlternate(t *testing.T) {
	session := liveClient(t, echo).Live(context.Background(), &dashgatev1.LiveSetup{Model: "m"})
	defer session.Close()
	if recv(t, session).GetSessionStarted() == nil || session.SessionID() != "s" {
		t.Fatal("the session did not start")
	}
	for _, text := range []string{"one", "two"} {
		if err := session.SendText(text); err != nil {
			t.Fatal(err)
		}
		if got := recv(t, session).GetResponseDelta().GetText(); got != text {
			t.Fatalf("%q instead of %q", got, text)
		}
	}
	if err := session.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := session.SendText("late"); !errors.Is(err, ErrSessionEnded) {
		t.Fatal(err)
	}
	if recv(t, session).GetSessionEnded() == nil || session.Ended().GetResponses() != 1 {
		t.Fatal("the session did not end")
	}
	if _, err := session.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestLiveSendingWaitsWhileTheGatewayReadsNothing(t *testing.T) {
	reads := make(chan struct{})
	client := liveClient(t, func(_ int, _ *dashgatev1.LiveSetup, stream liveServer) error {
		if err := stream.Send(startedEvent(1, false)); err != nil {
			return err
		}
		<-reads
		for {
			if _, err := stream.Recv(); err != nil {
				return stream.Send(endedEvent(2))
			}
		}
	})
	session := client.Live(context.Background(), &dashgatev1.LiveSetup{Model: "m"})
	defer session.Close()
	const pieces = 512
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		for range pieces {
			if err := session.SendAudio(make([]byte, 64<<10)); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- session.Finish()
	}()
	recv(t, session)
	time.Sleep(500 * time.Millisecond)
	if got := sent.Load(); got == pieces {
		t.Fatal("all messages were accepted")
	}
	close(reads)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if recv(t, session).GetSessionEnded() == nil {
		t.Fatal("the session did not end")
	}
}

func TestLiveSenderResumesAlone(t *testing.T) {
	client := liveClient(t, func(call int, setup *dashgatev1.LiveSetup, stream liveServer) error {
		if call == 1 {
			if err := stream.Send(startedEvent(1, false)); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "shutting down")
		}
		return echo(call, setup, stream)
	})
	session := client.Live(context.Background(), &dashgatev1.LiveSetup{Model: "m"})
	defer session.Close()
	for range 100 {
		if err := session.SendText("still"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	if err := session.Finish(); err != nil {
		t.Fatal(err)
	}
	resumed := 0
	for event, err := range session.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if event.GetSessionStarted().GetResumed() {
			resumed++
		}
	}
	if resumed != 1 || session.Resumes() != 1 || session.Ended() == nil {
		t.Fatalf("resumed %d times, after %d attempts", resumed, session.Resumes())
	}
}

func TestLiveSenderKeepsNoEventsThatAreReceivedAgain(t *testing.T) {
	const breaks = 5
	client := liveClient(t, func(call int, setup *dashgatev1.LiveSetup, stream liveServer) error {
		last := max(setup.GetResume().GetLastSequence(), 1)
		if err := stream.Send(startedEvent(last, setup.GetResume() != nil)); err != nil {
			return err
		}
		for sequence := last + 1; sequence <= 20; sequence++ {
			if err := stream.Send(deltaEvent(sequence, "a")); err != nil {
				return err
			}
		}
		if call <= breaks {
			return status.Error(codes.Unavailable, "shutting down")
		}
		return stream.Send(endedEvent(21))
	})
	session := client.Live(context.Background(), &dashgatev1.LiveSetup{Model: "m"})
	defer session.Close()
	for end := time.Now().Add(limit); session.Resumes() < breaks && time.Now().Before(end); {
		if err := session.SendText("a"); err != nil {
			t.Fatal(err)
		}
		session.state.Lock()
		unread := len(session.unread)
		session.state.Unlock()
		if unread > 2 && session.Resumes() < breaks {
			t.Fatalf("%d events are kept", unread)
		}
		time.Sleep(time.Millisecond)
	}
	want := int32(1)
	for event, err := range session.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if event.GetSessionStarted() == nil {
			if want++; event.GetSequence() != want {
				t.Fatalf("event %d instead of %d", event.GetSequence(), want)
			}
		}
	}
	if want != 21 || session.Ended() == nil {
		t.Fatalf("the last event was %d", want)
	}
}

func TestLiveSenderContinuesWhileAReaderWaits(t *testing.T) {
	const events = 200
	client := liveClient(t, func(_ int, setup *dashgatev1.LiveSetup, stream liveServer) error {
		sequence := max(setup.GetResume().GetLastSequence(), 1)
		if err := stream.Send(startedEvent(sequence, setup.GetResume() != nil)); err != nil {
			return err
		}
		for range 40 {
			if _, err := stream.Recv(); err != nil {
				return err
			}
			if sequence++; sequence > events {
				return stream.Send(endedEvent(sequence))
			}
			if err := stream.Send(deltaEvent(sequence, "a")); err != nil {
				return err
			}
		}
		return status.Error(codes.Unavailable, "shutting down")
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	session := client.Live(ctx, &dashgatev1.LiveSetup{Model: "m"})
	defer session.Close()
	go func() {
		for session.SendText("a") == nil {
		}
	}()
	for _, err := range session.Events() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if session.Ended() == nil {
		t.Fatal("the session did not end")
	}
}

func TestLiveContextEndsTheSession(t *testing.T) {
	client := liveClient(t, func(_ int, _ *dashgatev1.LiveSetup, stream liveServer) error {
		if err := stream.Send(startedEvent(1, false)); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	session := client.Live(ctx, &dashgatev1.LiveSetup{Model: "m"})
	defer session.Close()
	recv(t, session)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := session.Recv()
	var failed *Error
	if !errors.As(err, &failed) || failed.Code != codes.Canceled || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := session.SendText("late"); !errors.As(err, &failed) {
		t.Fatal(err)
	}
}
