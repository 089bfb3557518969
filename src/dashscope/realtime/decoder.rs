//! Decodes DashScope's events. The dialects differ in what they send, and share its meaning, so one
//! decoder reads all of them.
//!
//! Deltas are read without a tree, because they are nearly all of a session. Every other event, and
//! every delta in an unusual form, is read as a tree, where the types of values may vary.

use std::borrow::Cow;

use serde::Deserialize;

use super::audio_frame;
use super::event_kind::{Content, EventKind, Speech, Step};
use super::fields::{nested, object, position, text, text_or_json};
use super::session_report::{response, session};
use super::tool_calls::{CallReport, ToolCalls};
use crate::chat::document::{Document, Object};
use crate::chat::live_event::{
    LivePiece, SpeechBoundary, TranscriptKind, TranscriptPart, UpstreamDelta, UpstreamError,
    UpstreamEvent,
};
use crate::dashscope::errors;
use crate::dashscope::json_fields::Fields;
use crate::dashscope::json_text::{Quoted, Text};
use crate::error::{Error, Sent};

/// Decodes the frames of one connection.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    calls: ToolCalls,
}

/// A delta in its usual form.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Quoted<'a>,
    #[serde(borrow, default)]
    response_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    item_id: Option<Text<'a>>,
    #[serde(borrow)]
    delta: Quoted<'a>,
}

impl Decoder {
    /// Decodes a frame.
    pub(super) fn decode(&mut self, json: &str) -> Result<UpstreamEvent, Error> {
        if let Ok(delta) = serde_json::from_str::<Delta<'_>>(json)
            && let Some(EventKind::Delta(content)) = EventKind::of(&delta.kind.0)
        {
            return Ok(UpstreamEvent::Delta(UpstreamDelta {
                response_id: Text::or_empty(&delta.response_id).to_owned(),
                item_id: Text::or_empty(&delta.item_id).to_owned(),
                piece: piece(content, delta.delta.0)?,
                is_snapshot: false,
            }));
        }
        let event = object(json).ok_or_else(|| invalid("a frame is not an object of JSON"))?;
        let kind = match event.value("type") {
            Some(Document::String(kind)) => kind.clone(),
            Some(_) | None => String::new(),
        };
        match EventKind::of(&kind) {
            Some(known) => self.known(known, &mut Fields::from(event)),
            None if kind.is_empty() => untyped(event),
            None => Ok(UpstreamEvent::Unknown { kind, event }),
        }
    }

    fn known(&mut self, kind: EventKind, fields: &mut Fields) -> Result<UpstreamEvent, Error> {
        Ok(match kind {
            EventKind::SessionCreated => UpstreamEvent::SessionCreated(session(fields)),
            EventKind::SessionUpdated => UpstreamEvent::SessionUpdated(session(fields)),
            EventKind::SessionFinished => UpstreamEvent::SessionFinished,
            EventKind::SpeechStarted => {
                UpstreamEvent::SpeechStarted(boundary(fields, "audio_start_ms"))
            }
            EventKind::SpeechStopped => {
                UpstreamEvent::SpeechStopped(boundary(fields, "audio_end_ms"))
            }
            EventKind::Committed => UpstreamEvent::Committed {
                item_id: text(fields, "item_id"),
            },
            EventKind::ItemCreated => UpstreamEvent::ItemCreated {
                item_id: text(&mut nested(fields, "item"), "id"),
            },
            EventKind::Transcript(speech) => transcript(fields, speech, false),
            EventKind::TranscriptDone(speech) => transcript(fields, speech, true),
            EventKind::TranscriptFailed => {
                let item_id = text(fields, "item_id");
                let UpstreamError { code, message, .. } = error(fields);
                UpstreamEvent::TranscriptFailed {
                    item_id,
                    code,
                    message,
                }
            }
            EventKind::VoiceprintsFailed => UpstreamEvent::Error(voiceprints(fields)),
            EventKind::Delta(content) => {
                let delta = text(fields, "delta");
                delta_of(fields, piece(content, delta.into())?, false)
            }
            EventKind::Snapshot(content, key) => {
                let whole = text(fields, key);
                delta_of(fields, piece(content, whole.into())?, true)
            }
            EventKind::Response(step) => self.of_response(step, fields),
            EventKind::Error => UpstreamEvent::Error(error(fields)),
            EventKind::Ignored => UpstreamEvent::Ignored,
        })
    }

    /// Events that begin or end a response, an item of it or a tool call.
    fn of_response(&mut self, step: Step, fields: &mut Fields) -> UpstreamEvent {
        let delta = match step {
            Step::Created => {
                self.calls.clear();
                let mut response = nested(fields, "response");
                return UpstreamEvent::ResponseCreated {
                    response_id: text(&mut response, "id"),
                };
            }
            Step::Done => {
                self.calls.clear();
                return UpstreamEvent::ResponseDone(Box::new(response(fields)));
            }
            Step::ItemDone => {
                let mut item = nested(fields, "item");
                return UpstreamEvent::ItemDone {
                    response_id: text(fields, "response_id"),
                    item_id: text(&mut item, "id"),
                    status: text(&mut item, "status"),
                };
            }
            Step::ItemAdded => {
                let report = call_item(fields);
                report.and_then(|report| self.calls.begin(report))
            }
            Step::Arguments => self.calls.append(call(fields, "delta")),
            Step::ArgumentsDone => self.calls.complete(call(fields, "arguments")),
        };
        delta.map_or(UpstreamEvent::Ignored, UpstreamEvent::Delta)
    }
}

/// The error of a frame that cannot be decoded.
fn invalid(what: &'static str) -> Error {
    errors::unreadable(what, Sent::Begun)
}

fn piece(content: Content, text: Cow<'_, str>) -> Result<LivePiece, Error> {
    Ok(match content {
        Content::Text => LivePiece::Text(text.into_owned()),
        Content::Transcript => LivePiece::Transcript(text.into_owned()),
        Content::Audio => {
            let audio = audio_frame::read(&text);
            LivePiece::Audio(audio.ok_or_else(|| invalid("audio is not base64"))?)
        }
    })
}

fn delta_of(fields: &mut Fields, piece: LivePiece, is_snapshot: bool) -> UpstreamEvent {
    UpstreamEvent::Delta(UpstreamDelta {
        response_id: text(fields, "response_id"),
        item_id: text(fields, "item_id"),
        piece,
        is_snapshot,
    })
}

fn boundary(fields: &mut Fields, position_key: &str) -> SpeechBoundary {
    SpeechBoundary {
        item_id: text(fields, "item_id"),
        at: position(fields, position_key),
        reason: text(fields, "reason"),
    }
}

/// A part of a transcript: a delta, or all of it with the words that may still change.
fn transcript(fields: &mut Fields, speech: Speech, is_done: bool) -> UpstreamEvent {
    let delta = fields.text("delta").map(|Text(delta)| delta.into_owned());
    let (kind, text_so_far) = match delta {
        _ if is_done => (TranscriptKind::Completed, text(fields, "transcript")),
        Some(delta) => (TranscriptKind::Delta, delta),
        None => (TranscriptKind::Snapshot, text(fields, "text")),
    };
    UpstreamEvent::Transcript {
        is_ambient: speech == Speech::Ambient,
        part: TranscriptPart {
            item_id: text(fields, "item_id"),
            kind,
            text: text_so_far,
            tentative: text(fields, "stash"),
            language: text(fields, "language"),
            emotion: text(fields, "emotion"),
        },
    }
}

/// The error in `error`: an object, or a message alone.
fn error(fields: &mut Fields) -> UpstreamError {
    match fields.take("error") {
        Some(Document::Object(object)) => error_of(&mut Fields::from(object)),
        Some(Document::String(message)) => UpstreamError {
            message,
            ..UpstreamError::default()
        },
        Some(_) | None => error_of(fields),
    }
}

fn error_of(fields: &mut Fields) -> UpstreamError {
    UpstreamError {
        kind: text(fields, "type"),
        code: text(fields, "code"),
        message: text(fields, "message"),
        param: text(fields, "param"),
        event_id: text(fields, "event_id"),
    }
}

/// Voiceprints that were refused. The session continues, as after any other refusal.
fn voiceprints(fields: &mut Fields) -> UpstreamError {
    UpstreamError {
        kind: "invalid_request_error".to_owned(),
        code: "invalid_value".to_owned(),
        message: text(fields, "reason"),
        param: "session.turn_detection.voiceprint_audio_urls".to_owned(),
        event_id: String::new(),
    }
}

/// The tool call that an item is.
fn call_item(fields: &mut Fields) -> Option<CallReport> {
    let mut item = nested(fields, "item");
    if text(&mut item, "type") != "function_call" {
        return None;
    }
    Some(CallReport {
        response_id: text(fields, "response_id"),
        item_id: text(&mut item, "id"),
        call_id: text(&mut item, "call_id"),
        index: fields.whole("output_index").unwrap_or_default(),
        name: text(&mut item, "name"),
        arguments: String::new(),
    })
}

fn call(fields: &mut Fields, arguments_key: &str) -> CallReport {
    CallReport {
        response_id: text(fields, "response_id"),
        item_id: text(fields, "item_id"),
        call_id: text(fields, "call_id"),
        index: fields.whole("output_index").unwrap_or_default(),
        name: text(fields, "name"),
        arguments: text_or_json(fields, arguments_key),
    }
}

/// An event without a type: a compact delta of the first generation, or an error as in HTTP.
fn untyped(event: Object) -> Result<UpstreamEvent, Error> {
    let has = |key: &str| {
        event
            .value(key)
            .is_some_and(|value| *value != Document::Null)
    };
    if has("choices") {
        return compact(&mut Fields::from(event));
    }
    if has("error") || (has("code") && has("message")) {
        return Ok(UpstreamEvent::Error(error(&mut Fields::from(event))));
    }
    let kind = String::new();
    Ok(UpstreamEvent::Unknown { kind, event })
}

/// A delta in the form of chat completions: `{"choices":[{"delta":{"content":"..."}}]}`.
fn compact(fields: &mut Fields) -> Result<UpstreamEvent, Error> {
    let choices = fields.list("choices", Fields::of).unwrap_or_default();
    let Some(mut choice) = choices.into_iter().next() else {
        return Ok(UpstreamEvent::Ignored);
    };
    let mut delta = nested(&mut choice, "delta");
    let mut audio = nested(&mut delta, "audio");
    let contents = [
        (Content::Text, text(&mut delta, "content")),
        (Content::Transcript, text(&mut audio, "transcript")),
        (Content::Audio, text(&mut audio, "data")),
    ];
    let content = contents.into_iter().find(|(_, text)| !text.is_empty());
    let Some((content, text)) = content else {
        return Ok(UpstreamEvent::Ignored);
    };
    Ok(UpstreamEvent::Delta(UpstreamDelta {
        response_id: String::new(),
        item_id: String::new(),
        piece: piece(content, text.into())?,
        is_snapshot: false,
    }))
}
