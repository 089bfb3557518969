package dashgate

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

func TestHeaders(t *testing.T) {
	played := play(t)
	played.header = map[string]string{"x-first": "a", "x-data-bin": "b"}
	played.trailer = map[string]string{"x-last": "c"}
	client := played.client(t)
	answer, err := client.Converse(t.Context(), ask())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"content-type": "application/grpc", "x-first": "a", "x-last": "c"}
	equal(t, "answer", answer.Headers, want)

	stream := client.Stream(t.Context(), ask())
	equal(t, "before the first event", len(stream.Headers()), 0)
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	equal(t, "after the first event", stream.Headers()["x-first"], "a")
	answer, err = stream.Final()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "stream", answer.Headers, want)

	played.parts = []part{{end: status.Error(codes.NotFound, "no")}}
	_, err = client.Stream(t.Context(), ask()).Final()
	equal(t, "error", failure(t, err).Headers, want)
}

func TestPartial(t *testing.T) {
	played := play(t)
	heartbeat := &dashgatev1.ConverseStreamResponse{
		Event: &dashgatev1.ConverseStreamResponse_Heartbeat{Heartbeat: new(dashgatev1.Heartbeat)},
	}
	audio := func(data string) *dashgatev1.ConverseStreamResponse {
		return of(0, &dashgatev1.Delta{Part: &dashgatev1.Delta_Audio{Audio: []byte(data)}})
	}
	played.events = append([]*dashgatev1.ConverseStreamResponse{heartbeat}, played.events...)
	played.events = append(played.events[:4:4], audio("ab"), audio("c"), delta("!"), completed())
	stream := played.client(t).Stream(t.Context(), ask())
	var texts, sounds []string
	for _, err := range stream.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if partial := stream.Partial(); partial != nil {
			texts, sounds = append(texts, partial.Text()), append(sounds, string(partial.Audio()))
			// What the caller does with it does not change the stream.
			partial.Raw.Reset()
		} else if len(texts) > 0 {
			t.Error("the partial answer is gone")
		}
	}
	equal(t, "texts", texts, []string{"", "hel", "hello", "hello", "hello", "hello!", "hello!"})
	equal(t, "audio", sounds, []string{"", "", "", "ab", "abc", "abc", "abc"})
	equal(t, "end", stream.Partial().RawFinishReason(), "stop")
}

func TestPartialStaysAfterABreak(t *testing.T) {
	stream := play(t).client(t).Stream(t.Context(), ask())
	if stream.Partial() != nil {
		t.Error("there was no event")
	}
	for range stream.TextDeltas() {
		break
	}
	equal(t, "text", stream.Partial().Text(), "hel")
	equal(t, "end", stream.Partial().FinishReason(), dashgatev1.FinishReason_FINISH_REASON_UNSPECIFIED)
}

func TestPartialAfterAnError(t *testing.T) {
	played := play(t)
	played.parts = []part{{events: played.events[:2], end: status.Error(codes.NotFound, "no")}}
	stream := played.client(t).Stream(t.Context(), ask())
	if _, err := stream.Final(); err == nil || errors.Is(err, errGap) {
		t.Error(err)
	}
	equal(t, "text", stream.Partial().Text(), "hel")
}
