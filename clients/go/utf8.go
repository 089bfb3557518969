package dashgate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// nameText returns the error of a message that could not be sent, with the path of its text that is not
// UTF-8: protobuf says neither which one it is, nor that the caller's argument is wrong.
func nameText(err error, message any) error {
	sent, isMessage := message.(proto.Message)
	if err == nil || !isMessage {
		return err
	}
	raw := statusOf(err)
	if raw.Code() != codes.Internal || !strings.Contains(raw.Message(), "UTF-8") {
		return err
	}
	path := notUTF8(sent.ProtoReflect())
	if path == "" {
		return err
	}
	const problem = "the text is not UTF-8"
	reason := dashgatev1.ErrorReason_INVALID_REQUEST
	refused := status.New(codes.InvalidArgument, path+": "+problem)
	detailed, detailErr := refused.WithDetails(
		&errdetails.ErrorInfo{Reason: reason.String()},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: path, Description: problem},
		}},
		&dashgatev1.CallFailure{Reason: reason},
	)
	if detailErr != nil {
		return refused.Err()
	}
	return detailed.Err()
}

// notUTF8 returns the path of the first text of a message that is not UTF-8, or "". A path ends at a map,
// whose key may be that text.
func notUTF8(message protoreflect.Message) string {
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !message.Has(field) {
			continue
		}
		name, value := string(field.Name()), message.Get(field)
		switch {
		case field.IsMap():
			if isNotUTF8Map(field, value.Map()) {
				return name
			}
		case field.IsList():
			for at := range value.List().Len() {
				if rest, found := notUTF8Value(field, value.List().Get(at)); found {
					return fmt.Sprintf("%s[%d]%s", name, at, rest)
				}
			}
		default:
			if rest, found := notUTF8Value(field, value); found {
				return name + rest
			}
		}
	}
	return ""
}

// notUTF8Value returns whether a value is or has a text that is not UTF-8, and the rest of its path.
func notUTF8Value(field protoreflect.FieldDescriptor, value protoreflect.Value) (string, bool) {
	switch field.Kind() {
	case protoreflect.StringKind:
		return "", !utf8.ValidString(value.String())
	case protoreflect.MessageKind:
		rest := notUTF8(value.Message())
		return "." + rest, rest != ""
	default:
		return "", false
	}
}

func isNotUTF8Map(field protoreflect.FieldDescriptor, values protoreflect.Map) (found bool) {
	values.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		_, found = notUTF8Value(field.MapValue(), value)
		found = found || field.MapKey().Kind() == protoreflect.StringKind && !utf8.ValidString(key.String())
		return !found
	})
	return found
}

// namedTextStream is a stream whose errors name the text that is not UTF-8.
type namedTextStream struct{ grpc.ClientStream }

// SendMsg sends a message.
func (s namedTextStream) SendMsg(message any) error {
	return nameText(s.ClientStream.SendMsg(message), message)
}
