//! The span of the requests to DashScope, all attempts together.

use std::sync::Arc;

use crate::chat::call::Call;
use crate::chat::event::Event;
use crate::telemetry::Telemetry;
use crate::telemetry::content::Messages;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::report::Report;
use crate::telemetry::trace::{Parent, Span};

use super::trace_content;

/// The span, and the content of the answer if enabled.
pub(super) struct UpstreamSpan {
    span: Span,
    heard: Option<Messages>,
}

impl UpstreamSpan {
    /// Begins the span, if tracing is enabled. It becomes the parent of the call, whose
    /// `traceparent` is sent to DashScope.
    pub(super) fn begin(telemetry: &Telemetry, call: &mut Arc<Call>) -> Option<Self> {
        let tracer = telemetry.tracer.as_ref()?;
        // Copied only if others wait for the same call; media are shared in any case.
        let call = Arc::make_mut(call);
        let parent = Parent {
            traceparent: call.passing.traceparent.as_deref(),
            tracestate: call.passing.tracestate.as_deref(),
        };
        let mut span = tracer.request(&call.prompt.model, parent);
        call.passing.traceparent = Some(span.traceparent());
        if !span.is_recording() {
            return Some(Self { span, heard: None });
        }
        let options = &call.prompt.options;
        for (key, number) in [
            ("gen_ai.request.temperature", options.temperature),
            ("gen_ai.request.top_p", options.top_p),
            ("gen_ai.request.presence_penalty", options.presence_penalty),
        ] {
            if let Some(number) = number {
                span.set(key, number.0);
            }
        }
        let most = options.max_tokens.or(options.max_completion_tokens);
        for (key, number) in [
            ("gen_ai.request.top_k", options.top_k.map(i64::from)),
            ("gen_ai.request.max_tokens", most.map(i64::from)),
            ("gen_ai.request.seed", options.seed),
            ("gen_ai.request.choice.count", options.n.map(i64::from)),
        ] {
            if let Some(number) = number {
                span.set(key, number);
            }
        }
        let heard = tracer.content().then(Messages::default);
        if heard.is_some() {
            span.set("gen_ai.input.messages", trace_content::asked(call).json());
        }
        Some(Self { span, heard })
    }

    /// Records an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Started(_) => {}
            Event::Delta(delta) => {
                if let Some(heard) = &mut self.heard {
                    trace_content::hear(heard, delta);
                }
            }
            Event::End(end) => {
                let reasons = end.choices.iter().map(|choice| &*choice.finish_reason);
                self.span
                    .set_words("gen_ai.response.finish_reasons", reasons);
                if let Some(heard) = &mut self.heard {
                    trace_content::end(heard, end);
                }
            }
        }
    }

    /// Ends the span.
    pub(super) fn end(mut self, report: &Report, outcome: Outcome) {
        if let Some(heard) = &self.heard {
            self.span.set("gen_ai.output.messages", heard.json());
        }
        self.span.set_outcome(report, outcome);
    }
}
