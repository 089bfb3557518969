// A span of OpenTelemetry for each call, which the gateway and its log continue.

// region tracing
import {
  context,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type TextMapSetter,
} from "@opentelemetry/api";
import type { Interceptor } from "dashgate";

const HEADERS: TextMapSetter<Headers> = {
  set: (headers, name, value) => {
    headers.set(name, value);
  },
};

/** Makes a span for each attempt of a call, and sends `traceparent`. */
export const tracing: Interceptor = (next) => async (request) => {
  const { typeName } = request.service;
  const span = trace.getTracer("dashgate").startSpan(`${typeName}/${request.method.name}`, {
    kind: SpanKind.CLIENT,
    attributes: {
      "rpc.system": "grpc",
      "rpc.service": typeName,
      "rpc.method": request.method.name,
    },
  });
  const active = trace.setSpan(context.active(), span);
  propagation.inject(active, request.header, HEADERS);
  try {
    // A stream has begun then; its events come later.
    return await context.with(active, () => next(request));
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR });
    throw error;
  } finally {
    span.end();
  }
};
// endregion

// region traced
import { Client } from "dashgate";

/** A client whose calls are traced. */
export function traced(target: string): Client {
  return new Client(target, { interceptors: [tracing] });
}
// endregion
