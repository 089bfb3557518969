package dashgate

import (
	"context"
	"reflect"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// OutputSchema is the form of a structured answer.
type OutputSchema[T any] struct {
	// Name is the name of the schema: letters, digits, _ and -.
	Name string
	// Schema is the JSON Schema, as JSON text.
	Schema string
	// Parse returns the value of an answer's text. The model may see its error.
	Parse func(text string) (T, error)
}

// OutputSchemaOf returns the schema of a type, derived as in NewTool.
func OutputSchemaOf[T any]() (OutputSchema[T], error) {
	of := reflect.TypeFor[T]()
	schema, text, err := derivedSchema(of)
	if err != nil {
		return OutputSchema[T]{}, err
	}
	parse := func(text string) (T, error) { return parseTyped[T](schema, text) }
	return OutputSchema[T]{Name: typeName(of), Schema: text, Parse: parse}, nil
}

// ConverseAs returns the next answer as a value of a type, usually a struct, whose JSON Schema the
// model gets. An answer that is not of the type fails with INTERNAL and the RawReason
// OUTPUT_INVALID; with WithRepair, the model is first shown the error, once. The conversation is not
// changed. Options and other errors are those of Converse, and that of OutputSchemaOf.
func ConverseAs[T any](
	ctx context.Context, client *Client, conversation *Conversation, options ...CallOption,
) (T, *Answer, error) {
	schema, err := OutputSchemaOf[T]()
	if err != nil {
		var none T
		return none, nil, err
	}
	return ConverseWithSchema(ctx, client, conversation, schema, options...)
}

// ConverseWithSchema is ConverseAs with a schema of the caller.
func ConverseWithSchema[T any](
	ctx context.Context, client *Client, conversation *Conversation, schema OutputSchema[T],
	options ...CallOption,
) (value T, answer *Answer, err error) {
	if client == nil {
		return value, nil, nilArgument("client", "")
	}
	call := client.newCall(options)
	if refused := call.refuseConversation(ctx, conversation); refused != nil {
		return value, nil, refused
	}
	if schema.Parse == nil {
		return value, nil, nilArgument("schema.Parse", call.requestID)
	}
	options = append(options[:len(options):len(options)], WithOptions(withSchema(call.options, schema)))
	attempts := 1
	if call.repair {
		attempts = 2
		conversation = conversation.Copy()
	}
	for {
		if answer, err = client.Converse(ctx, conversation, options...); err != nil {
			return value, nil, err
		}
		if value, err = schema.Parse(answer.Text()); err == nil {
			return value, answer, nil
		}
		if attempts--; attempts == 0 {
			var none T
			return none, answer, outputError(answer, err)
		}
		conversation.Append(answer).User(Text("The answer does not fit the JSON Schema: " + err.Error() +
			"\nAnswer again, only with JSON that fits it."))
		options = append(options, callOption(followingRound))
	}
}

// withSchema returns a copy of the options with the response format of the schema.
func withSchema[T any](
	options *dashgatev1.GenerationOptions, schema OutputSchema[T],
) *dashgatev1.GenerationOptions {
	if options = proto.CloneOf(options); options == nil {
		options = new(dashgatev1.GenerationOptions)
	}
	format := &dashgatev1.JsonSchema{Name: schema.Name, Schema: schema.Schema, Strict: proto.Bool(true)}
	options.ResponseFormat = &dashgatev1.ResponseFormat{
		Kind: &dashgatev1.ResponseFormat_JsonSchema{JsonSchema: format},
	}
	return options
}

// outputError is the error of an answer that is not of its type. The answer is billed.
func outputError(answer *Answer, err error) *Error {
	failed := ownError(codes.Internal, "OUTPUT_INVALID", answer.RequestID(), "%s", err.Error())
	failed.cause = err
	failed.OutputStarted = true
	failed.Usage = answer.Usage()
	failed.Model = answer.Model()
	failed.UpstreamRequestID = answer.UpstreamRequestID()
	failed.Headers = answer.Headers
	return failed
}
