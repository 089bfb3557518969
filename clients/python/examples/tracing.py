"""Continues a trace of OpenTelemetry in the gateway."""

# region tracing
from opentelemetry import propagate, trace

import dashgate

tracer = trace.get_tracer("shop")


def trace_context() -> dict[str, str]:
    """Return the metadata that continues the current span: `traceparent` and `tracestate`."""
    metadata: dict[str, str] = {}
    propagate.inject(metadata)
    return metadata


def ask(client: dashgate.Client, question: str) -> str:
    conversation = dashgate.Conversation("qwen3.6-plus").user(question)
    with tracer.start_as_current_span("ask") as span:
        answer = client.converse(conversation, metadata=trace_context())
        span.set_attribute("gen_ai.response.model", answer.model)
        span.set_attribute("gen_ai.usage.output_tokens", answer.usage.output_tokens)
        span.set_attribute("dashgate.request_id", answer.request_id)
        return answer.text


# endregion

if __name__ == "__main__":
    with dashgate.Client() as client:
        print(ask(client, "What time is it?"))
