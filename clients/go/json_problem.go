package dashgate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// jsonProblem describes the error of encoding/json for a text. It has nothing of the text, which may
// be private and of any size; encoding/json quotes it.
func jsonProblem(err error) error {
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not JSON at byte %d", syntax.Offset)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it is not JSON at its end")
	case errors.As(err, &kind):
		return fmt.Errorf("%smust be of the type %v", prefix(kind.Field), kind.Type)
	default:
		return errors.New("a value is not of its type")
	}
}
