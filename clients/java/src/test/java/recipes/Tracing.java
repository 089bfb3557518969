package recipes;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.context.Context;

// region tracing
/** Makes a span for each attempt of a call, whose trace the gateway continues. */
public final class Tracing implements ClientInterceptor {
  private final OpenTelemetry telemetry;

  /** For {@code DashgateClient.builder().intercept(new Tracing(telemetry))}. */
  public Tracing(OpenTelemetry telemetry) {
    this.telemetry = telemetry;
  }

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(
      MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    Span span =
        telemetry
            .getTracer("io.dashgate")
            .spanBuilder(method.getFullMethodName())
            .setSpanKind(SpanKind.CLIENT)
            .startSpan();
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void start(Listener<A> responses, Metadata headers) {
        // "traceparent" and "tracestate".
        telemetry
            .getPropagators()
            .getTextMapPropagator()
            .inject(
                Context.current().with(span), headers, (to, name, value) -> put(to, name, value));
        super.start(
            new SimpleForwardingClientCallListener<>(responses) {
              @Override
              public void onClose(Status status, Metadata trailers) {
                span.setAttribute("rpc.grpc.status_code", status.getCode().value());
                if (!status.isOk()) {
                  span.setStatus(StatusCode.ERROR);
                }
                span.end();
                super.onClose(status, trailers);
              }
            },
            headers);
      }
    };
  }

  private static void put(Metadata headers, String name, String value) {
    headers.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), value);
  }
}
// endregion
