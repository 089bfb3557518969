package dashgate

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

const latin1 = "caf\xe9"

func TestTextThatIsNotUTF8IsNamed(t *testing.T) {
	played := play(t)
	given := givenConnClient(t, played.address)
	inMap := ask()
	inMap.Raw.Messages[0].Extra = &structpb.Struct{Fields: map[string]*structpb.Value{latin1: structpb.NewNullValue()}}
	inMapValue := ask()
	inMapValue.Raw.Messages[0].Extra = &structpb.Struct{
		Fields: map[string]*structpb.Value{"k": structpb.NewStringValue(latin1)},
	}
	for path, conversation := range map[string]*Conversation{
		"conversation.model":                       NewConversation(latin1).User(Text("é")),
		"conversation.messages[1].content[1].text": ask().User(Text("é"), Text(latin1)),
		"conversation.messages[0].extra.fields":    inMap,
		// A value of the same map.
		"conversation.messages[0].extra.fields/": inMapValue,
	} {
		for name, client := range map[string]*Client{"own": played.client(t), "given": given} {
			t.Run(path+"/"+name, func(t *testing.T) {
				_, unary := client.Converse(t.Context(), conversation)
				_, streamed := client.Stream(t.Context(), conversation).Final()
				for _, err := range []error{unary, streamed} {
					failed := failure(t, err)
					equal(t, "code", failed.Code, codes.InvalidArgument)
					equal(t, "reason", failed.Reason, dashgatev1.ErrorReason_INVALID_REQUEST)
					equal(t, "retryable", failed.Retryable, false)
					if len(failed.FieldViolations) != 1 || len(failed.RequestID) != 36 {
						t.Fatalf("%+v", failed)
					}
					equal(t, "field", failed.FieldViolations[0].Field, strings.TrimSuffix(path, "/"))
				}
			})
		}
	}
	equal(t, "calls", len(played.names), 0)
}
