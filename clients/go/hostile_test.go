package dashgate

import (
	"reflect"
	"testing"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

type (
	nestedList    []nestedList
	nestedMap     map[string]nestedMap
	nestedPointer *nestedPointer
)

func TestATypeThatContainsItselfIsRefused(t *testing.T) {
	for name, schema := range map[string]func() error{
		"list":    func() error { _, err := OutputSchemaOf[nestedList](); return err },
		"map":     func() error { _, err := OutputSchemaOf[nestedMap](); return err },
		"pointer": func() error { _, err := OutputSchemaOf[nestedPointer](); return err },
	} {
		if schema() == nil {
			t.Errorf("%s: there is a schema", name)
		}
	}
}

func TestAnIncompleteAnswerLeavesAStoredConversationAsItIs(t *testing.T) {
	conversation := NewConversation("").Named("conversations/a").User(Text("a"))
	conversation.Raw.LastTurn = 5
	conversation.Append(&Answer{Raw: &dashgatev1.ConverseResponse{}})
	if len(conversation.Raw.GetMessages()) != 1 || conversation.LastTurn() != 5 {
		t.Errorf("%v", conversation.Raw)
	}
}

func TestANameInAnotherCaseIsNoWayPastTheCheckOfAValue(t *testing.T) {
	type paint struct {
		Color string `json:"color" enum:"red,blue"`
	}
	schema, err := schemaOf(reflect.TypeFor[paint](), nil)
	if err != nil {
		t.Fatal(err)
	}
	if value, err := parseTyped[paint](schema, `{"color":"red","COLOR":"evil"}`); err == nil {
		t.Errorf("%v", value)
	}
}

func TestDetailOfAnImageIsAccepted(t *testing.T) {
	list := `[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a.test/a.png","detail":"high"}}]}]`
	if _, err := FromMessages("m", list); err != nil {
		t.Error(err)
	}
}
