package recipes

import (
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/dashgate/dashgate/clients/go"
)

// region tracing

// NewTracedClient returns a client whose calls are spans. Each sends its traceparent, so that the
// spans of the gateway belong to the same trace.
func NewTracedClient(target string, provider trace.TracerProvider) (*dashgate.Client, error) {
	handler := otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
	)
	return dashgate.New(target, dashgate.WithDialOptions(grpc.WithStatsHandler(handler)))
}

// endregion
