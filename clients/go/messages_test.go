package dashgate

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// messagesAre compares a list of messages with the JSON form of the schema.
func messagesAre(t *testing.T, messages any, want string) {
	t.Helper()
	conversation, err := FromMessages("m", messages)
	if err != nil {
		t.Fatal(err)
	}
	expected := new(dashgatev1.Conversation)
	if err := protojson.Unmarshal([]byte(`{"model":"m","messages":`+want+`}`), expected); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(conversation.Raw, expected) {
		t.Errorf("got %v, want %v", conversation.Raw, expected)
	}
}

func TestMessagesOfOpenAI(t *testing.T) {
	const list = `[
		{"role": "developer", "content": "Be brief."},
		{"role": "user", "content": [
			{"type": "text", "text": "?"},
			{"type": "image_url", "image_url": {"url": "https://x/a.png"}},
			{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
			{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
			{"type": "input_audio", "input_audio": {"data": "oss://x", "format": "mp3"}},
			{"type": "video_url", "video_url": {"url": "data:,a%20b"}},
			{"type": "video", "video": ["https://x/1", "https://x/2"]}
		]},
		{"role": "assistant", "content": null, "reasoning_content": "Hm.", "tool_calls": [
			{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
			{"id": "d", "function": {"name": "g", "arguments": "{}"}}
		]},
		{"role": "tool", "tool_call_id": "c", "content": "1"}
	]`
	const want = `[
		{"role": "ROLE_SYSTEM", "content": [{"text": "Be brief."}]},
		{"role": "ROLE_USER", "content": [
			{"text": "?"},
			{"image": {"uri": "https://x/a.png"}},
			{"image": {"data": "aGk=", "mimeType": "image/png"}},
			{"audio": {"data": "aGk=", "mimeType": "audio/mpeg"}},
			{"audio": {"uri": "oss://x"}},
			{"video": {"data": "YSBi"}},
			{"video": {"frames": {"frames": [{"uri": "https://x/1"}, {"uri": "https://x/2"}]}}}
		]},
		{"role": "ROLE_ASSISTANT", "reasoningText": "Hm.", "toolCalls": [
			{"id": "c", "type": "function", "name": "f", "arguments": "{}"},
			{"index": 1, "id": "d", "type": "function", "name": "g", "arguments": "{}"}
		]},
		{"role": "ROLE_TOOL", "toolCallId": "c", "content": [{"text": "1"}]}
	]`
	messagesAre(t, list, want)
	messagesAre(t, []byte(list), want)
	messagesAre(t, json.RawMessage(list), want)
	var values any
	if err := json.Unmarshal([]byte(list), &values); err != nil {
		t.Fatal(err)
	}
	messagesAre(t, values, want)
}

func TestMessagesOfDashScope(t *testing.T) {
	type content map[string]any
	messagesAre(t, []map[string]any{
		{"role": "system", "content": []content{{"text": "Be brief."}}},
		{"role": "user", "content": []content{
			{"audio": "https://x/a.mp3"}, {"image": "oss://x"}, {"video": "https://x/v"},
			{"video": []string{"https://x/1"}},
		}},
	}, `[
		{"role": "ROLE_SYSTEM", "content": [{"text": "Be brief."}]},
		{"role": "ROLE_USER", "content": [
			{"audio": {"uri": "https://x/a.mp3"}}, {"image": {"uri": "oss://x"}}, {"video": {"uri": "https://x/v"}},
			{"video": {"frames": {"frames": [{"uri": "https://x/1"}]}}}
		]}
	]`)
}

func TestMessagesThatAreRefused(t *testing.T) {
	user := func(part string) string {
		return `[{"role":"user","content":"a"},{"role":"user","content":[` + part + `]}]`
	}
	for list, place := range map[string]string{
		`{}`:                                  "messages: must be a list",
		`[`:                                   "messages: must be a list: it is not JSON at byte 1",
		`[1]`:                                 "messages[0]: must be an object",
		`[{"content":"a"}]`:                   "messages[0].role: ",
		`[{"role":"judge"}]`:                  "messages[0].role: ",
		`[{"role":1}]`:                        "messages[0].role: must be a text",
		`[{"role":"user","name":"x"}]`:        "messages[0].name: is unknown",
		`[{"role":"user","content":7}]`:       "messages[0].content: ",
		`[{"role":"user","tool_calls":7}]`:    "messages[0].tool_calls: must be a list",
		`[{"role":"user","tool_calls":[7]}]`:  "messages[0].tool_calls[0]: ",
		`[{"role":"user","tool_call_id":{}}]`: "messages[0].tool_call_id: must be a text",
		`[{"role":"user","tool_calls":[{"type":"code","function":{"name":"f"}}]}]`: "messages[0].tool_calls[0].type: ",
		`[{"role":"user","tool_calls":[null]}]`:                                    "messages[0].tool_calls[0]: must be an object",
		`[{"role":"user","tool_calls":[{"function":{"name":null}}]}]`:              "messages[0].tool_calls[0].function.name: is missing",
		`[{"role":"user","tool_calls":[{"index":-1,"function":{"name":"f"}}]}]`:    "messages[0].tool_calls[0].index: ",
		user(`null`):         "messages[1].content[0]: must be an object",
		user(`{"video":[]}`): "messages[1].content[0].video: ",
		user(`{"type":"image_url","image_url":null}`):                          "messages[1].content[0].image_url: is missing",
		user(`{"type":"smell"}`):                                               "messages[1].content[0].type: must be one of text, ",
		user(`{"smell":"rose"}`):                                               "messages[1].content[0].smell: is unknown",
		user(`{"type":"text"}`):                                                "messages[1].content[0].text: is missing",
		user(`{"type":"text","text":"a","x":1}`):                               "messages[1].content[0].",
		user(`{"text":"a","image":"oss://x"}`):                                 "messages[1].content[0].",
		user(`{}`):                                                             "messages[1].content[0]: is empty",
		user(`{"type":1}`):                                                     "messages[1].content[0].type: must be a text",
		user(`{"text":"a"},{"image":"/etc/hostname"}`):                         "messages[1].content[1].image: must be an http:",
		user(`{"image":"file:///etc/hostname"}`):                               "messages[1].content[0].image: must be an http:",
		user(`{"image":"` + attachedScheme + `1"}`):                            "messages[1].content[0].image: must be an http:",
		user(`{"video":["a.png"]}`):                                            "messages[1].content[0].video[0]: must be an http:",
		user(`{"video":7}`):                                                    "messages[1].content[0].video: ",
		user(`{"type":"image_url","image_url":"https://x"}`):                   "messages[1].content[0].image_url: ",
		user(`{"type":"image_url","image_url":{"url":"a.png"}}`):               "messages[1].content[0].image_url.url: must be an http:",
		user(`{"type":"image_url","image_url":{"url":"https://x","smell":1}}`): "messages[1].content[0].image_url.smell: is unknown",
		user(`{"type":"input_audio","input_audio":{"data":"/etc/hostname"}}`):  "messages[1].content[0].input_audio.data: must be base64",
		user(`{"type":"input_audio","input_audio":{"data":""}}`):               "messages[1].content[0].input_audio.data: must be base64",
		user(`{"image":"data:image/png"}`):                                     "messages[1].content[0].image: must have its data",
		user(`{"image":"data:image/png;base64,%"}`):                            "messages[1].content[0].image: cannot be decoded",
	} {
		if _, err := FromMessages("m", list); err == nil || !strings.HasPrefix(err.Error(), place) {
			t.Errorf("%s: got %v, want %s", list, err, place)
		}
	}
	for _, odd := range []any{
		func() {}, nil, "null", " null", "", json.RawMessage(nil), []byte(nil), (*[]string)(nil), map[string]any(nil),
		"[{\"role\":\"user\",\"content\":\"\xff\"}]",
	} {
		if conversation, err := FromMessages("m", odd); err == nil || !strings.HasPrefix(err.Error(), "messages: ") {
			t.Errorf("%#v: %v, %v", odd, conversation, err)
		}
	}
}

func TestNullIsAbsent(t *testing.T) {
	messagesAre(t, `[
		{"role": "user", "name": null, "tool_calls": null, "tool_call_id": null, "reasoning_content": null, "content": [
			{"type": "text", "text": "a", "cache_control": null},
			{"type": null, "audio": "oss://x", "image": null, "smell": null},
			{"type": "image_url", "image_url": {"url": "oss://x", "detail": null, "smell": null}},
			{"type": "input_audio", "input_audio": {"data": "aGk=", "format": null, "smell": null}}
		]},
		{"role": "assistant", "content": null, "tool_calls": [
			{"index": null, "id": null, "type": null, "function": {"name": "f", "arguments": null, "x": null}, "x": null}
		]}
	]`, `[
		{"role": "ROLE_USER", "content": [
			{"text": "a"}, {"audio": {"uri": "oss://x"}}, {"image": {"uri": "oss://x"}}, {"audio": {"data": "aGk="}}
		]},
		{"role": "ROLE_ASSISTANT", "toolCalls": [{"type": "function", "name": "f"}]}
	]`)
}

func TestSchemesAndBase64OfMessages(t *testing.T) {
	messagesAre(t, `[{"role": "user", "content": [
		{"image": "HTTPS://x"}, {"image": "Oss://x"}, {"image": "DATA:image/png;BASE64,aGk"}, {"image": "Data:,%61"},
		{"type": "input_audio", "input_audio": {"data": "aGk"}},
		{"type": "input_audio", "input_audio": {"data": "DATA:;base64,aGk="}}
	]}]`, `[{"role": "ROLE_USER", "content": [
		{"image": {"uri": "HTTPS://x"}}, {"image": {"uri": "Oss://x"}}, {"image": {"data": "aGk=", "mimeType": "image/png"}},
		{"image": {"data": "YQ=="}}, {"audio": {"data": "aGk="}}, {"audio": {"data": "aGk="}}
	]}]`)
	messagesAre(t, `[{"role": "user", "content": [
		{"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "mp3"}},
		{"type": "input_audio", "input_audio": {"data": "data:;base64,UklGRiQAAABXQVZF", "format": "mp3"}},
		{"type": "input_audio", "input_audio": {"data": "data:audio/flac;base64,aGk=", "format": "mp3"}},
		{"audio": "data:;base64,UklGRiQAAABXQVZF"}, {"image": "data:;charset=x,%61"}
	]}]`, `[{"role": "ROLE_USER", "content": [
		{"audio": {"data": "UklGRiQAAABXQVZF", "mimeType": "audio/mpeg"}},
		{"audio": {"data": "UklGRiQAAABXQVZF", "mimeType": "audio/mpeg"}},
		{"audio": {"data": "aGk=", "mimeType": "audio/flac"}},
		{"audio": {"data": "UklGRiQAAABXQVZF", "mimeType": "audio/wav"}}, {"image": {"data": "YQ=="}}
	]}]`)
	for _, wrong := range []string{"aGk%3D", "aGk==", "aG k", "aGk\\n", "a", "a===", "aGk=aGk=", "-_-_", "=", "===="} {
		for _, part := range []string{
			`{"type":"input_audio","input_audio":{"data":"` + wrong + `"}}`, `{"image":"data:image/png;base64,` + wrong + `"}`,
		} {
			if _, err := FromMessages("m", `[{"role":"user","content":[`+part+`]}]`); err == nil {
				t.Error(part)
			}
		}
	}
	for _, empty := range []string{"data:,", "data:image/png;base64,", "data:;base64,"} {
		_, err := FromMessages("m", `[{"role":"user","content":[{"image":"`+empty+`"}]}]`)
		if err == nil || err.Error() != "messages[0].content[0].image: has no data" {
			t.Error(empty, err)
		}
	}
}

func TestSurrogatesOfMessages(t *testing.T) {
	messagesAre(t, `[{"role": "user", "content": "\ud83d\ude00 \\ud800 \ufffd"}]`,
		`[{"role": "ROLE_USER", "content": [{"text": "\ud83d\ude00 \\ud800 \ufffd"}]}]`)
	for _, lone := range []string{`\ud800`, `\udc00`, `\ud800a`, `\ude00\ud83d`, `\ud83d\ud83d\ude00`, `\uD800\u0041`, `\ud800\n`} {
		for part, place := range map[string]string{
			`"content":"` + lone + `"`:                                            "content",
			`"content":[{"text":"` + lone + `"}]`:                                 "content[0].text",
			`"reasoning_content":"` + lone + `"`:                                  "reasoning_content",
			`"tool_calls":[{"function":{"name":"f","arguments":"` + lone + `"}}]`: "tool_calls[0].function.arguments",
			`"content":[{"image":"data:,` + lone + `"}]`:                          "content[0].image",
			`"content":[{"video":["` + lone + `"]}]`:                              "content[0].video[0]",
		} {
			_, err := FromMessages("m", `[{"role":"user",`+part+`}]`)
			if want := "messages[0]." + place + ": has a surrogate without its pair"; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
}

func TestErrorsOfMessagesQuoteNoValue(t *testing.T) {
	const secret = "hushhush"
	for _, list := range []any{
		`[` + secret, `"` + secret + `"`, `["` + secret + `"]`, `[{"role":"` + secret + `"}]`,
		`[{"role":"user","content":[{"type":"` + secret + `"}]}]`,
		`[{"role":"user","content":[{"image":"` + secret + `"}]}]`,
		`[{"role":"user","content":[{"image":"data:,%` + secret + `"}]}]`,
		`[{"role":"user","content":[{"image":"data:;base64,!` + secret + `"}]}]`,
		`[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"!` + secret + `"}}]}]`,
		`[{"role":"user","content":[{"type":"image_url","image_url":"` + secret + `"}]}]`,
		`[{"role":"user","tool_calls":[{"type":"` + secret + `","function":{"name":"f"}}]}]`,
		`[{"role":"user","tool_calls":[{"index":"` + secret + `","function":{"name":"f"}}]}]`,
		[]any{json.Number(secret)},
	} {
		_, err := FromMessages("m", list)
		for ; err != nil; err = errors.Unwrap(err) {
			if strings.Contains(err.Error(), "hush") {
				t.Error(err)
			}
		}
	}
	_, err := FromMessages("m", `[{"role":"user","a\nb\u202e":1}]`)
	equal(t, "a key is one line", err.Error(), "messages[0].a?b?: is unknown")
}

func TestErrorsOfConversationsQuoteNoValue(t *testing.T) {
	for text, place := range map[string]string{
		`{"hush":1}`: "(line 1:2)", `{"model":["hush"]}`: "(line 1:10)", `{"messages":[{"role":"HUSH"}]}`: "(line 1:22)",
	} {
		err := json.Unmarshal([]byte(text), NewConversation(""))
		if err == nil || strings.Contains(strings.ToLower(err.Error()), "hush") || !strings.HasSuffix(err.Error(), place) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
