package dashgate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// callLog writes what DASHGATE_LOG enables, to the default logger of log/slog. It is nil for off.
// Content, keys and the values of metadata are never written.
type callLog struct {
	target string
	debug  bool
}

// newCallLog reads DASHGATE_LOG: off, info or debug.
func newCallLog(target string) *callLog {
	switch os.Getenv("DASHGATE_LOG") {
	case "info":
		return &callLog{target: printable(target)}
	case "debug":
		return &callLog{target: printable(target), debug: true}
	default:
		return nil
	}
}

// write writes a line. The default handler of log/slog has no debug level: the variable decides.
func (l *callLog) write(level slog.Level, format string, values ...any) {
	logger := slog.Default()
	if !logger.Enabled(context.Background(), level) {
		level = slog.LevelInfo
	}
	logger.Log(context.Background(), level, "dashgate: "+fmt.Sprintf(format, values...))
}

// callRecord is a call in the log. Its methods do nothing if it is nil.
type callRecord struct {
	log       *callLog
	method    string
	requestID string
	begun     time.Time
}

type callRecordKey struct{}

// begin begins the record of a call. The context has it for gRPC's attempts.
func (l *callLog) begin(
	ctx context.Context, method, requestID string,
) (context.Context, *callRecord) {
	if l == nil {
		return ctx, nil
	}
	record := &callRecord{log: l, method: method, requestID: printable(requestID), begun: time.Now()}
	return context.WithValue(ctx, callRecordKey{}, record), record
}

// unrecorded returns a context for a call that is not in the log.
func unrecorded(ctx context.Context) context.Context {
	return context.WithValue(ctx, callRecordKey{}, (*callRecord)(nil))
}

// end writes the line of a call that has ended.
func (r *callRecord) end(err error) {
	if r == nil {
		return
	}
	r.log.write(slog.LevelInfo, "%s %s %d ms, request id %s, %s",
		r.method, outcome(err), time.Since(r.begun).Milliseconds(), r.requestID, r.log.target)
}

// maxLogged is how many characters are written of a text that comes from elsewhere.
const maxLogged = 200

// printable returns a text that comes from elsewhere as a part of one line.
func printable(text string) string {
	var line strings.Builder
	for _, char := range text {
		if line.Len() == maxLogged {
			break
		}
		if char < ' ' || char > '~' {
			char = '?'
		}
		line.WriteRune(char)
	}
	return line.String()
}

// outcome returns the code and the raw reason, without the message.
func outcome(err error) string {
	var failed *Error
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return code.Code_OK.String()
	case !errors.As(err, &failed):
		return code.Code_UNKNOWN.String()
	case failed.RawReason != "":
		return codeName(failed) + " " + printable(failed.RawReason)
	default:
		return codeName(failed)
	}
}

// again writes that a call is made again after a delay: a retry, or a resume.
func (r *callRecord) again(what string, count int, delay time.Duration, failed *Error) {
	if !r.isDebug() {
		return
	}
	r.log.write(slog.LevelDebug, "%s %d of %s in %d ms after %s, request id %s",
		what, count, r.method, delay.Milliseconds(), outcome(failed), r.requestID)
}

// retried writes that gRPC makes a call again by itself.
func (r *callRecord) retried(count int, after time.Duration) {
	if !r.isDebug() {
		return
	}
	r.log.write(slog.LevelDebug, "retry %d of %s after %d ms, request id %s",
		count, r.method, after.Milliseconds(), r.requestID)
}

// failed writes why an attempt failed. A message of a server may have content; that of gRPC has the
// cause.
func (r *callRecord) failed(attempt int, raw *status.Status, isAnswered bool) {
	if !r.isDebug() || raw.Code() == codes.Canceled {
		return
	}
	cause := outcome(newError(context.Background(), raw.Err(), responseMetadata{}, ""))
	if !isAnswered {
		cause += ": " + printable(raw.Message())
	}
	r.log.write(slog.LevelDebug, "attempt %d of %s failed: %s, request id %s",
		attempt, r.method, cause, r.requestID)
}

func (r *callRecord) isDebug() bool { return r != nil && r.log.debug }
