//! The content of calls in traces, if enabled. See [`crate::telemetry::content`].

use crate::chat::call::Call;
use crate::chat::event::{Delta, End, Piece};
use crate::chat::media::{Medium, Source, VideoSource};
use crate::chat::message::{Body, Role, ToolCall, Turn};
use crate::telemetry::content::{Messages, Part};

/// The messages of a call.
pub(super) fn asked(call: &Call) -> Messages {
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
pub(super) fn hear(messages: &mut Messages, delta: &Delta) {
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
pub(super) fn end(messages: &mut Messages, end: &End) {
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
