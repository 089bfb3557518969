package dashgate

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

type city struct {
	Name   string   `json:"name"`
	People int      `json:"people"`
	Rivers []string `json:"rivers"`
}

// answers lets the gateway give these answers, one after the other.
func (g *gateway) answers(texts ...string) {
	g.converse = func(context.Context) (*dashgatev1.ConverseResponse, error) {
		response := says(texts[0])
		response.Usage = &dashgatev1.Usage{OutputTokens: proto.Int32(7)}
		// As for a conversation that the gateway stores.
		response.HistoryUsed = &dashgatev1.HistoryUsed{Turn: 5}
		if len(texts) > 1 {
			texts = texts[1:]
		}
		return response, nil
	}
}

const oslo = `{"name":"Oslo","people":717710,"rivers":["Akerselva"]}`

func TestStructuredOutput(t *testing.T) {
	played := play(t)
	played.answers(oslo)
	conversation := ask()
	given := &dashgatev1.GenerationOptions{Temperature: proto.Float64(0)}
	value, answer, err := ConverseAs[city](t.Context(), played.client(t), conversation, WithOptions(given))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "value", value, city{"Oslo", 717710, []string{"Akerselva"}})
	equal(t, "answer", answer.Text(), oslo)
	equal(t, "the conversation stays", len(conversation.Raw.GetMessages()), 1)
	equal(t, "the options stay", given.GetResponseFormat() == nil, true)
	options := played.conversations[0].GetOptions()
	equal(t, "options", options.GetTemperature(), 0)
	format := options.GetResponseFormat().GetJsonSchema()
	equal(t, "name", format.GetName(), "city")
	equal(t, "schema", format.GetSchema(), `{"type":"object","properties":{"name":{"type":"string"},`+
		`"people":{"type":"integer"},"rivers":{"type":"array","items":{"type":"string"}}},`+
		`"required":["name","people","rivers"],"additionalProperties":false}`)
}

func TestStructuredOutputThatIsInvalid(t *testing.T) {
	played := play(t)
	played.answers(`{"name":"Oslo"}`)
	value, answer, err := ConverseAs[city](t.Context(), played.client(t), ask())
	failed := failure(t, err)
	equal(t, "code", failed.Code, codes.Internal)
	equal(t, "reason", failed.RawReason, "OUTPUT_INVALID")
	equal(t, "message", failed.Message, "people is missing")
	equal(t, "usage", failed.Usage.GetOutputTokens(), 7)
	equal(t, "flags", []bool{failed.OutputStarted, failed.Retryable}, []bool{true, false})
	equal(t, "request id", failed.RequestID, "r")
	equal(t, "value", value, city{})
	equal(t, "answer", answer.Text(), `{"name":"Oslo"}`)
	equal(t, "calls", len(played.names), 1)
}

func TestStructuredOutputIsRepairedOnce(t *testing.T) {
	played := play(t)
	played.answers("Oslo is large.", oslo)
	conversation := ask().Named("conversations/x")
	conversation.Raw.LastTurn = 4
	value, _, err := ConverseAs[city](t.Context(), played.client(t), conversation,
		WithRepair(true), WithRequestID("mine"), WithExpectedTurn(4))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "value", value.Name, "Oslo")
	equal(t, "the conversation stays", len(conversation.Raw.GetMessages()), 1)
	second := played.conversations[1]
	// The gateway has stored the answer, so the second call has the error only.
	equal(t, "messages", len(second.GetConversation().GetMessages()), 1)
	if text := second.GetConversation().GetMessages()[0].GetContent()[0].GetText(); !strings.Contains(text, "it is not JSON at byte 1") {
		t.Error(text)
	}
	equal(t, "expected turn", second.GetExpectedTurn(), 5)
	if played.names[0] != "mine" || len(played.names[1]) != 36 {
		t.Error(played.names)
	}

	played.answers("Oslo is large.")
	played.conversations = nil
	_, _, err = ConverseAs[city](t.Context(), played.client(t), ask(), WithRepair(true))
	equal(t, "reason", failure(t, err).RawReason, "OUTPUT_INVALID")
	equal(t, "calls", len(played.conversations), 2)
	equal(t, "messages", len(played.conversations[1].GetConversation().GetMessages()), 3)
}

func TestSchemaOfTheCaller(t *testing.T) {
	played := play(t)
	played.answers("7")
	odd := errors.New("odd")
	schema := OutputSchema[int]{Name: "even", Schema: `{"type":"integer"}`, Parse: func(string) (int, error) { return 0, odd }}
	_, _, err := ConverseWithSchema(t.Context(), played.client(t), ask(), schema)
	if !errors.Is(err, odd) || failure(t, err).RawReason != "OUTPUT_INVALID" {
		t.Error(err)
	}
	equal(t, "name", played.conversations[0].GetOptions().GetResponseFormat().GetJsonSchema().GetName(), "even")
}

type base struct {
	ID string `json:"id"`
}

type more struct {
	Tags []string `json:"tags" enum:"x,y"`
}

type everything struct {
	base
	*more
	Flag    bool               `json:"flag"`
	Share   float32            `json:"share"`
	At      time.Time          `json:"at"`
	Data    []byte             `json:"data"`
	Pair    [2]int             `json:"pair"`
	Scores  map[string]float64 `json:"scores"`
	Any     any                `json:"any"`
	Raw     json.RawMessage    `json:"raw"`
	Number  json.Number        `json:"number"`
	Maybe   *base              `json:"maybe"`
	Empty   string             `json:"empty,omitzero"`
	AsText  int                `json:"as_text,string"`
	Plain   struct{}
	Skipped int `json:"-"`
	hidden  int
}

func TestSchemaOfEachType(t *testing.T) {
	_ = everything{}.hidden
	_, text, err := derivedSchema(reflect.TypeFor[everything]())
	if err != nil {
		t.Fatal(err)
	}
	const id = `{"type":"object","properties":{"id":{"type":"string"}},"required":["id"],"additionalProperties":false}`
	equal(t, "schema", text, `{"type":"object","properties":{"id":{"type":"string"},`+
		`"tags":{"type":"array","items":{"type":"string","enum":["x","y"]}},"flag":{"type":"boolean"},`+
		`"share":{"type":"number"},"at":{"type":"string","format":"date-time"},"data":{"type":"string"},`+
		`"pair":{"type":"array","items":{"type":"integer"}},`+
		`"scores":{"type":"object","additionalProperties":{"type":"number"}},"any":{},"raw":{},`+
		`"number":{"type":"number"},"maybe":`+id+`,"empty":{"type":"string"},"as_text":{"type":"string"},`+
		`"Plain":{"type":"object","additionalProperties":false}},`+
		`"required":["id","tags","flag","share","at","data","pair","scores","number","as_text","Plain"],`+
		`"additionalProperties":false}`)
	_, text, err = derivedSchema(reflect.TypeFor[struct {
		When    *time.Time
		Address *netip.Addr
		Own     netip.Addr
		Large   big.Int
	}]())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "schema", text, `{"type":"object","properties":{"When":{"type":"string","format":"date-time"},`+
		`"Address":{"type":"string"},"Own":{"type":"string"},"Large":{}},"required":["Own"],"additionalProperties":false}`)
	type base struct {
		ID    int
		Other string
	}
	for _, shadowed := range []reflect.Type{
		reflect.TypeFor[struct {
			base
			ID *string `json:"ID"`
		}](),
		reflect.TypeFor[struct {
			ID *string
			base
		}](),
	} {
		_, text, err := derivedSchema(shadowed)
		if err != nil || strings.Count(text, `"ID"`) != 1 || !strings.Contains(text, `"ID":{"type":"string"}`) {
			t.Error(text, err)
		}
	}
	type recursive struct{ Next []recursive }
	for _, wrong := range []reflect.Type{
		reflect.TypeFor[recursive](), reflect.TypeFor[chan int](), reflect.TypeFor[map[int]string](),
		reflect.TypeFor[struct{ F func() }](), reflect.TypeFor[struct {
			N int `enum:"1,2"`
		}](),
	} {
		if _, _, err := derivedSchema(wrong); err == nil {
			t.Errorf("%v has a schema", wrong)
		}
	}
	equal(t, "name", typeName(reflect.TypeFor[city]())+" "+typeName(reflect.TypeFor[[]int]()), "city answer")
}

func TestValuesThatDoNotFit(t *testing.T) {
	type form struct {
		Kind  string         `json:"kind" enum:"a,b"`
		Items []city         `json:"items,omitempty"`
		More  map[string]int `json:"more"`
		Maybe *string        `json:"maybe"`
	}
	schema, _, err := derivedSchema(reflect.TypeFor[form]())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"kind":"a","more":{},"maybe":null,"items":null,"new":1}`: "",
		`{"kind":"c","more":{}}`:                                   "kind: must be one of a, b",
		`{"kind":null,"more":{}}`:                                  "kind: must not be null",
		`{"kind":"a"}`:                                             "more is missing",
		`{"kind":"a","more":{"x":null}}`:                           "more.*: must not be null",
		`{"kind":"a","more":{},"items":[{"name":"x","people":1}]}`: "items[0]: rivers is missing",
		`null`:                         "must not be null",
		`{"kind":"a","more":{}} {}`:    "there is more after the JSON value",
		`{"kind":"a","more":{"x":""}}`: "more: must be of the type int",
	} {
		_, err := parseTyped[form](schema, text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestErrorsOfStructuredOutputQuoteNoValue(t *testing.T) {
	type strict struct {
		Count int               `json:"count"`
		At    time.Time         `json:"at"`
		Kind  string            `json:"kind" enum:"a,b"`
		More  map[string]string `json:"more"`
	}
	schema, err := OutputSchemaOf[strict]()
	if err != nil {
		t.Fatal(err)
	}
	const at = `"at":"2026-01-02T03:04:05Z"`
	for text, want := range map[string]string{
		`hush`:   "it is not JSON at byte 1",
		`{"hush`: "it is not JSON at its end",
		`{"count":1234567.8,` + at + `,"kind":"a","more":{}}`:          "count: must be of the type int",
		`{"count":1,"at":"hush","kind":"a","more":{}}`:                 "a value is not of its type",
		`{"count":1,` + at + `,"kind":"hush","more":{}}`:               "kind: must be one of a, b",
		`{"count":1,` + at + `,"kind":"a","more":{"hush":null}}`:       "more.*: must not be null",
		`{"count":1,` + at + `,"kind":"a","more":{},"COUNT":"1"}`:      "count is written in another case",
		`{"count":1,` + at + `,"kind":"a","more":{}} hush`:             "there is more after the JSON value",
		`{"count":1,` + at + `,"kind":"a","more":{"a":"\ud800"}}{hush`: "there is more after the JSON value",
	} {
		_, err := schema.Parse(text)
		if err == nil || err.Error() != want || errors.Unwrap(err) != nil {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
