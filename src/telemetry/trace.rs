//! Traces.
//!
//! A call has two spans: the server span of the call, whose parent is the caller's span, and below
//! it the client span of all attempts at DashScope, which is the parent sent to DashScope. Modules
//! pass the context as a `traceparent` text.

use std::str::FromStr as _;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

use super::call_report::Report;
use super::outcome::Outcome;

/// Starts spans.
pub struct Tracer {
    tracer: SdkTracer,
    /// Host and port of DashScope.
    server: (String, u16),
    /// Whether message content is recorded.
    content: bool,
}

/// A span, which ends when it is dropped.
pub struct Span(opentelemetry_sdk::trace::Span);

/// The trace context that a caller sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parent<'a> {
    /// The trace and the parent span.
    pub traceparent: Option<&'a str>,
    /// Vendor-specific data.
    pub tracestate: Option<&'a str>,
}

impl Tracer {
    /// Starts spans by this tracer.
    pub(super) fn new(tracer: SdkTracer, server: (String, u16), content: bool) -> Self {
        Self {
            tracer,
            server,
            content,
        }
    }

    /// Whether message content is recorded.
    pub fn content(&self) -> bool {
        self.content
    }

    /// Starts the server span of a call; `method` is `package.Service/Method`.
    pub fn call(&self, method: &str, parent: Parent<'_>) -> Span {
        let builder = SpanBuilder::from_name(method.to_owned())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method.to_owned()),
            ]);
        self.start(builder, parent)
    }

    /// Starts the client span of a request to a model.
    pub fn request(&self, model: &str, parent: Parent<'_>) -> Span {
        let (host, port) = &self.server;
        let builder = SpanBuilder::from_name(format!("chat {model}"))
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new("gen_ai.operation.name", "chat"),
                KeyValue::new("gen_ai.provider.name", "dashscope"),
                KeyValue::new("gen_ai.request.model", model.to_owned()),
                KeyValue::new("server.address", host.clone()),
                KeyValue::new("server.port", i64::from(*port)),
            ]);
        self.start(builder, parent)
    }

    fn start(&self, builder: SpanBuilder, parent: Parent<'_>) -> Span {
        let context = match remote(parent) {
            Some(remote) => Context::new().with_remote_span_context(remote),
            None => Context::new(),
        };
        Span(self.tracer.build_with_context(builder, &context))
    }
}

impl Span {
    /// Whether the span will be exported.
    pub fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    /// The `traceparent` for the next hop.
    pub fn traceparent(&self) -> String {
        let context = self.0.span_context();
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        )
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// Sets an attribute with a list of strings.
    pub fn set_words<'a>(&mut self, key: &'static str, words: impl Iterator<Item = &'a str>) {
        let words = words
            .map(|word| StringValue::from(word.to_owned()))
            .collect();
        self.set(key, Value::Array(Array::String(words)));
    }

    /// Records the status of the call: the name of the gRPC code, in capitals, and whether it is an
    /// error of the server.
    pub fn set_status(&mut self, code: &'static str, server_error: bool) {
        self.set("rpc.response.status_code", code);
        if server_error {
            self.set("error.type", code);
            self.0.set_status(Status::error(""));
        }
    }

    /// Records the outcome of the request to DashScope.
    pub fn set_outcome(&mut self, report: &Report, outcome: Outcome) {
        if !self.is_recording() {
            return;
        }
        self.set("dashgate.request_id", report.request_id.as_ref().to_owned());
        self.set("dashgate.attempts", i64::from(report.attempts));
        if let Some(caller) = report.caller.as_deref() {
            self.set("dashgate.caller", caller.to_owned());
        }
        for (key, text) in [
            ("gen_ai.response.model", &*report.answered_by),
            ("gen_ai.response.id", &report.upstream_request_id),
            ("dashgate.upstream_code", &report.upstream_code),
        ] {
            if !text.is_empty() {
                self.set(key, text.to_owned());
            }
        }
        for (key, count) in [
            ("gen_ai.usage.input_tokens", report.tokens.input()),
            ("gen_ai.usage.output_tokens", report.tokens.output()),
            (
                "gen_ai.usage.cache_read.input_tokens",
                report.tokens.cached(),
            ),
        ] {
            if let Some(count) = count {
                self.set(key, i64::from(count));
            }
        }
        if let Some(first) = report.first_token {
            self.set("dashgate.time_to_first_token", first.as_secs_f64());
        }
        if outcome != Outcome::Ok {
            self.set("error.type", outcome.name());
            self.0.set_status(Status::error(""));
        }
    }
}

fn remote(parent: Parent<'_>) -> Option<SpanContext> {
    let (trace, span, flags) = parts(parent.traceparent)?;
    let state = parent
        .tracestate
        .and_then(|state| TraceState::from_str(state).ok());
    Some(SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        state.unwrap_or_default(),
    ))
}

/// The trace id of a `traceparent`; empty if it is invalid.
pub fn trace_id(traceparent: Option<&str>) -> &str {
    parts(traceparent).map_or("", |(trace, ..)| trace)
}

/// Trace id, span id and flags of a W3C `traceparent`.
fn parts(traceparent: Option<&str>) -> Option<(&str, &str, u8)> {
    let mut parts = traceparent?.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(digit);
    let id = |text: &str, length| hex(text, length) && text.bytes().any(|byte| byte != b'0');
    let flags = parts.next().filter(|flags| hex(flags, 2))?;
    let known = hex(version, 2) && version != "ff";
    let whole = version != "00" || parts.next().is_none();
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (known && whole && id(trace, 32) && id(span, 16)).then_some((trace, span, flags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(Some(&good)), TRACE);
        let newer = format!("cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later");
        assert_eq!(trace_id(Some(&newer)), TRACE);
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}"),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-0000000000000000-01"),
        ] {
            assert_eq!(trace_id(Some(&bad)), "", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_a_trace_id_or_none(text in "[0-9a-f-]{0,70}|.{0,70}") {
            let _ = trace_id(Some(&text));
        }
    }
}
