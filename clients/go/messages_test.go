package dashgate

import (
	"encoding/json"
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
		`[`:                                   "messages: must be a list",
		`[1]`:                                 "messages[0]: must be an object",
		`[{"content":"a"}]`:                   "messages[0].role: ",
		`[{"role":"judge"}]`:                  "messages[0].role: ",
		`[{"role":1}]`:                        "messages[0].role: must be a text",
		`[{"role":"user","name":"x"}]`:        "messages[0].name: is unknown",
		`[{"role":"user","content":7}]`:       "messages[0].content: ",
		`[{"role":"user","tool_calls":7}]`:    "messages[0].tool_calls: must be a list",
		`[{"role":"user","tool_calls":[7]}]`:  "messages[0].tool_calls[0]: ",
		`[{"role":"user","tool_call_id":{}}]`: "messages[0].tool_call_id: must be a text",
		`[{"role":"x","tool_calls":[{"type":"code","function":{"name":"f"}}]}]`: "messages[0].tool_calls[0].type: ",
		`[{"role":"x","tool_calls":[null]}]`:                                    "messages[0].tool_calls[0].function.name: is missing",
		user(`null`):                                                            "messages[1].content[0]: must be an object",
		user(`{"video":[]}`):                                                    "messages[1].content[0].video: ",
		user(`{"type":"image_url","image_url":null}`):                           "messages[1].content[0].image_url.url: ",
		user(`{"type":"smell"}`):                                                `messages[1].content[0].type: "smell" is unknown`,
		user(`{"smell":"rose"}`):                                                "messages[1].content[0].smell: is unknown",
		user(`{"type":"text"}`):                                                 "messages[1].content[0].text: is missing",
		user(`{"type":"text","text":"a","x":1}`):                                "messages[1].content[0].",
		user(`{"text":"a","image":"oss://x"}`):                                  "messages[1].content[0].",
		user(`{}`):                                                              "messages[1].content[0]: is empty",
		user(`{"type":1}`):                                                      "messages[1].content[0].type: must be a text",
		user(`{"text":"a"},{"image":"/etc/hostname"}`):                          "messages[1].content[1].image: must be an http:",
		user(`{"image":"file:///etc/hostname"}`):                                "messages[1].content[0].image: must be an http:",
		user(`{"image":"` + attachedScheme + `1"}`):                             "messages[1].content[0].image: must be an http:",
		user(`{"video":["a.png"]}`):                                             "messages[1].content[0].video[0]: must be an http:",
		user(`{"video":7}`):                                                     "messages[1].content[0].video: ",
		user(`{"type":"image_url","image_url":"https://x"}`):                    "messages[1].content[0].image_url: ",
		user(`{"type":"image_url","image_url":{"url":"a.png"}}`):                "messages[1].content[0].image_url.url: must be an http:",
		user(`{"type":"image_url","image_url":{"url":"https://x","smell":1}}`):  "messages[1].content[0].image_url: ",
		user(`{"type":"input_audio","input_audio":{"data":"/etc/hostname"}}`):   "messages[1].content[0].input_audio.data: must be base64",
		user(`{"type":"input_audio","input_audio":{"data":""}}`):                "messages[1].content[0].input_audio.data: must be base64",
		user(`{"image":"data:image/png"}`):                                      "messages[1].content[0].image: must have its data",
		user(`{"image":"data:image/png;base64,%"}`):                             "messages[1].content[0].image: cannot be decoded",
	} {
		if _, err := FromMessages("m", list); err == nil || !strings.HasPrefix(err.Error(), place) {
			t.Errorf("%s: got %v, want %s", list, err, place)
		}
	}
	if _, err := FromMessages("m", func() {}); err == nil {
		t.Error("a function is no list")
	}
}
