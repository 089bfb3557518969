package dashgate

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dashgatev1 "github.com/dashgate/dashgate/clients/go/dashgate/v1"
)

// deadlineSlack is how much earlier than this side the server may see the end of a deadline.
const deadlineSlack = 50 * time.Millisecond

// newError converts gRPC's error; requestID is the id that was sent.
func newError(ctx context.Context, err error, response responseMetadata, requestID string) *Error {
	raw := statusOf(err)
	e := &Error{
		Code: raw.Code(), Message: raw.Message(), RequestID: requestID, Status: raw,
		Headers: response.texts(), cause: contextEnd(ctx, raw.Code()),
	}
	var late *lateError
	if errors.As(err, &late) {
		e.cause = late.Unwrap()
	}
	after, isRefused := pushback(response)
	e.retryAfter = after
	for _, detail := range raw.Details() {
		e.addDetail(detail)
	}
	if e.RawReason == "" && e.Code == codes.DeadlineExceeded && errors.Is(e.cause, context.DeadlineExceeded) {
		e.Reason = dashgatev1.ErrorReason_DEADLINE_EXCEEDED
		e.RawReason = e.Reason.String()
	}
	// Without a reason, gRPC or a proxy created it: the gateway was not reached.
	isUnreached := e.Code == codes.Unavailable && e.RawReason == ""
	e.Retryable = e.retryAfter != nil || isUnreached && !isRefused
	return e
}

// contextError returns the error of a call whose context ended while no attempt was running.
func contextError(ctx context.Context, requestID string) *Error {
	return newError(ctx, status.FromContextError(ctx.Err()).Err(), responseMetadata{}, requestID)
}

// contextEnd returns the error of the context if it ended the call.
func contextEnd(ctx context.Context, code codes.Code) error {
	if code != codes.Canceled && code != codes.DeadlineExceeded {
		return nil
	}
	ended := ctx.Err()
	if deadline, has := ctx.Deadline(); ended == nil && has && time.Until(deadline) < deadlineSlack {
		// The server's timer was first.
		return context.DeadlineExceeded
	}
	return ended
}

// pushback returns the delay of grpc-retry-pushback-ms, or whether it forbids a retry.
func pushback(response responseMetadata) (after *time.Duration, isRefused bool) {
	values := response.trailer.Get("grpc-retry-pushback-ms")
	if len(values) == 0 {
		return nil, false
	}
	milliseconds, err := strconv.ParseInt(values[0], 10, 32)
	if err != nil || milliseconds < 0 {
		return nil, true
	}
	delay := time.Duration(milliseconds) * time.Millisecond
	return &delay, false
}

// addDetail adds the values of a detail of the status. Others are skipped, and those that cannot be
// decoded.
func (e *Error) addDetail(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		e.RawReason = detail.GetReason()
	case *dashgatev1.CallFailure:
		e.Reason = detail.GetReason()
		e.Usage = detail.GetUsage()
		e.OutputStarted = detail.GetOutputStarted()
		e.Attempts = int(detail.GetAttempts())
		e.UpstreamCode = detail.GetUpstreamCode()
		e.UpstreamHTTPStatus = int(detail.GetUpstreamHttpStatus())
		e.UpstreamRequestID = detail.GetUpstreamRequestId()
		e.Model = detail.GetModel()
	case *errdetails.RequestInfo:
		if detail.GetRequestId() != "" {
			e.RequestID = detail.GetRequestId()
		}
	case *errdetails.RetryInfo:
		after := max(detail.GetRetryDelay().AsDuration(), 0)
		e.retryAfter = &after
	case *errdetails.BadRequest:
		for _, violation := range detail.GetFieldViolations() {
			e.FieldViolations = append(e.FieldViolations, FieldViolation{
				Field: violation.GetField(), Description: violation.GetDescription(),
			})
		}
	}
}

// ownError returns an error that this package detects. Its reason need not be one of ErrorReason.
func ownError(code codes.Code, reason, requestID, format string, values ...any) *Error {
	raw := status.Newf(code, format, values...)
	return &Error{
		Code: code, Message: raw.Message(), RequestID: requestID, Status: raw, RawReason: reason,
		Reason: dashgatev1.ErrorReason(dashgatev1.ErrorReason_value[reason]),
	}
}

// errIdle is the cause of the context of a stream that received nothing.
var errIdle = errors.New("nothing was received")

func idleError(limit time.Duration, requestID string) *Error {
	return ownError(codes.DeadlineExceeded, "STREAM_IDLE", requestID,
		"nothing was received for %v, not even a heartbeat; WithIdleTimeout sets this limit", limit)
}

func truncatedError(requestID string) *Error {
	return ownError(codes.Internal, "STREAM_TRUNCATED", requestID,
		"the stream ended before the answer was complete")
}

func roundsError(rounds int) *Error {
	return ownError(codes.FailedPrecondition, "TOOL_ROUNDS", "",
		"the model still requests tools after %d rounds; WithMaxRounds sets this limit", rounds)
}
