//! The span of the requests to DashScope, all attempts together, and the content of the call if
//! traces have it. See [`crate::telemetry::content`].

use std::sync::Arc;

use crate::chat::call::{Call, Passing};
use crate::chat::event::{Delta, End, Event, Piece};
use crate::chat::media::{Medium, Source, VideoSource};
use crate::chat::message::{Body, Role, ToolCall, Turn};
use crate::telemetry::Telemetry;
use crate::telemetry::call_report::Report;
use crate::telemetry::content::{Messages, Part};
use crate::telemetry::outcome::Outcome;
use crate::telemetry::trace::{Parent, Span};

/// The span, and the content of the answer if enabled.
pub(super) struct UpstreamSpan {
    span: Span,
    answer: Option<Messages>,
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
            return Some(Self { span, answer: None });
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
        let answer = tracer.content().then(Messages::default);
        if answer.is_some() {
            span.set("gen_ai.input.messages", request_messages(call).json());
        }
        Some(Self { span, answer })
    }

    /// Begins the span of a live session, if tracing is enabled. It becomes the parent of what is
    /// sent to DashScope. Its content is never recorded.
    pub(super) fn of_session(
        telemetry: &Telemetry,
        model: &str,
        passing: &mut Passing,
    ) -> Option<Self> {
        let tracer = telemetry.tracer.as_ref()?;
        let parent = Parent {
            traceparent: passing.traceparent.as_deref(),
            tracestate: passing.tracestate.as_deref(),
        };
        let span = tracer.request(model, parent);
        passing.traceparent = Some(span.traceparent());
        Some(Self { span, answer: None })
    }

    /// Records an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Started(_) => {}
            Event::Delta(delta) => {
                if let Some(answer) = &mut self.answer {
                    add_delta(answer, delta);
                }
            }
            Event::End(end) => {
                let reasons = end.choices.iter().map(|choice| &*choice.finish_reason);
                self.span
                    .set_words("gen_ai.response.finish_reasons", reasons);
                if let Some(answer) = &mut self.answer {
                    add_end(answer, end);
                }
            }
        }
    }

    /// Ends the span.
    pub(super) fn end(mut self, report: &Report, outcome: Outcome) {
        if let Some(answer) = &self.answer {
            self.span.set("gen_ai.output.messages", answer.json());
        }
        self.span.set_outcome(report, outcome);
    }
}

/// The messages of a call.
fn request_messages(call: &Call) -> Messages {
    let mut messages = Messages::default();
    for turn in &call.prompt.turns {
        let role = match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        messages.add(role, parts(turn).into_iter());
    }
    messages
}

/// Adds a delta of an answer.
fn add_delta(messages: &mut Messages, delta: &Delta) {
    let piece = match &delta.piece {
        Piece::Text(content) => Part::Text {
            content: content.clone(),
        },
        Piece::Reasoning(content) => Part::Reasoning {
            content: content.clone(),
        },
        Piece::ToolCall(call) => tool_call(call),
        Piece::Image(uri) => Part::uri("image", uri),
        Piece::AudioFile(file) => Part::uri("audio", &file.uri),
        Piece::Audio(_)
        | Piece::Annotation(_)
        | Piece::Extra(_)
        | Piece::MessageExtra(_)
        | Piece::Logprobs(_)
        | Piece::Search(_) => return,
    };
    messages.append(index(delta.choice), piece);
}

/// Adds the finish reasons.
fn add_end(messages: &mut Messages, end: &End) {
    for choice in &end.choices {
        messages.end(index(choice.index), &choice.finish_reason);
    }
}

fn index(choice: i32) -> usize {
    usize::try_from(choice).unwrap_or_default()
}

fn parts(turn: &Turn) -> Vec<Part> {
    let mut parts = Vec::new();
    if !turn.reasoning.is_empty() {
        parts.push(Part::Reasoning {
            content: turn.reasoning.clone(),
        });
    }
    for part in &turn.parts {
        match &part.body {
            Body::Text(text) if turn.role == Role::Tool => parts.push(Part::ToolCallResponse {
                id: turn.tool_call_id.clone(),
                response: text.clone(),
            }),
            Body::Text(text) => parts.push(Part::Text {
                content: text.clone(),
            }),
            Body::Audio(audio) => {
                parts.extend(
                    audio
                        .medium
                        .iter()
                        .map(|medium| self::medium("audio", medium)),
                );
                parts.extend(audio.file.iter().map(|file| Part::uri("audio", &file.uri)));
            }
            Body::Image(image) => parts.push(medium("image", &image.medium)),
            Body::Video(video) => match &video.source {
                VideoSource::File(file) => parts.push(medium("video", file)),
                VideoSource::Frames(frames) => {
                    parts.extend(frames.iter().map(|frame| medium("image", frame)));
                }
            },
            Body::Other => {}
        }
    }
    parts.extend(turn.tool_calls.iter().map(tool_call));
    parts
}

fn medium(modality: &'static str, medium: &Medium) -> Part {
    match &medium.source {
        Source::Uri(uri) => Part::uri(modality, uri),
        Source::Inline(bytes) => Part::Blob {
            modality,
            bytes: bytes.len(),
        },
    }
}

fn tool_call(call: &ToolCall) -> Part {
    Part::ToolCall {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: call.arguments.clone(),
    }
}
