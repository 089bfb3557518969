//! Decodes DashScope's events. The dialects differ in what they send, and share its meaning, so one
//! decoder reads all of them.
//!
//! Deltas are read without a tree, because they are nearly all of a session. Every other event, and
//! every delta in an unusual form, is read as a tree, where the types of values may vary.

use std::borrow::Cow;

use serde::Deserialize;

use super::audio_frame;
use super::event_kind::{Content, EventKind, Speech, Step};
use super::fields::{MAX_SHORT, nested, object, position, short, shorten, text, text_or_json};
use super::session_report::{response, session, usage_of};
use super::tool_calls::{CallReport, MAX_CALLS, ToolCalls};
use crate::chat::document::{Document, Object};
use crate::chat::live_event::{
    LivePiece, SpeechBoundary, TranscriptKind, TranscriptPart, UpstreamDelta, UpstreamError,
    UpstreamEvent,
};
use crate::dashscope::errors;
use crate::dashscope::json_fields::Fields;
use crate::dashscope::json_text::{Quoted, Text};
use crate::error::{Error, Sent};
use crate::untrusted;

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
                response_id: id(&delta.response_id),
                item_id: id(&delta.item_id),
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
            None => Ok(UpstreamEvent::Unknown {
                kind: untrusted::code(&kind),
                event,
            }),
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
                item_id: short(fields, "item_id"),
            },
            EventKind::ItemCreated => UpstreamEvent::ItemCreated {
                item_id: text(&mut nested(fields, "item"), "id"),
            },
            EventKind::Transcript(speech) => transcript(fields, speech, false),
            EventKind::TranscriptDone(speech) => transcript(fields, speech, true),
            EventKind::TranscriptFailed => {
                let item_id = short(fields, "item_id");
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
                    response_id: short(&mut response, "id"),
                };
            }
            Step::Done => {
                let (mut response, items) = response(fields);
                for (mut item, index) in items.into_iter().take(MAX_CALLS).zip(0..) {
                    // A call may come only here.
                    let call = call_item(&mut item, &response.id, index);
                    let call = call.and_then(|report| self.calls.complete(report));
                    response.calls.extend(call);
                }
                self.calls.clear();
                return UpstreamEvent::ResponseDone(Box::new(response));
            }
            Step::ItemDone => {
                let mut item = nested(fields, "item");
                let response_id = short(fields, "response_id");
                let call = call_item(&mut item, &response_id, index_of(fields));
                let call = call.and_then(|report| self.calls.complete(report));
                return UpstreamEvent::ItemDone {
                    response_id,
                    item_id: short(&mut item, "id"),
                    status: short(&mut item, "status"),
                    call: call.map(Box::new),
                };
            }
            Step::ItemAdded => {
                let mut item = nested(fields, "item");
                let response_id = short(fields, "response_id");
                let report = call_item(&mut item, &response_id, index_of(fields));
                report.and_then(|report| self.calls.begin(report))
            }
            Step::Arguments => self.calls.append(call(fields, "delta")),
            Step::ArgumentsDone => self.calls.arguments_done(call(fields, "arguments")),
        };
        delta.map_or(UpstreamEvent::Ignored, UpstreamEvent::Delta)
    }
}

/// An id of a delta.
fn id(from: &Option<Text<'_>>) -> String {
    let id = Text::or_empty(from);
    let (id, _) = id.split_at(id.floor_char_boundary(MAX_SHORT));
    id.to_owned()
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
        response_id: short(fields, "response_id"),
        item_id: short(fields, "item_id"),
        piece,
        is_snapshot,
    })
}

fn boundary(fields: &mut Fields, position_key: &str) -> SpeechBoundary {
    SpeechBoundary {
        item_id: short(fields, "item_id"),
        at: position(fields, position_key),
        reason: short(fields, "reason"),
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
            item_id: short(fields, "item_id"),
            kind,
            text: text_so_far,
            tentative: text(fields, "stash"),
            language: short(fields, "language"),
            emotion: short(fields, "emotion"),
        },
        usage: usage_of(fields).map(Box::new),
    }
}

/// The error in `error`: an object, or a message alone.
fn error(fields: &mut Fields) -> UpstreamError {
    match fields.take("error") {
        Some(Document::Object(object)) => error_of(&mut Fields::from(object)),
        Some(Document::String(message)) => UpstreamError {
            message: untrusted::message(&message),
            ..UpstreamError::default()
        },
        Some(_) | None => error_of(fields),
    }
}

fn error_of(fields: &mut Fields) -> UpstreamError {
    UpstreamError {
        kind: short(fields, "type"),
        code: untrusted::code(&text(fields, "code")),
        message: untrusted::message(&text(fields, "message")),
        param: untrusted::message(&text(fields, "param")),
        event_id: short(fields, "event_id"),
    }
}

/// Voiceprints that were refused. The session continues, as after any other refusal.
fn voiceprints(fields: &mut Fields) -> UpstreamError {
    UpstreamError {
        kind: "invalid_request_error".to_owned(),
        code: "invalid_value".to_owned(),
        message: untrusted::message(&text(fields, "reason")),
        param: "session.turn_detection.voiceprint_audio_urls".to_owned(),
        event_id: String::new(),
    }
}

/// The tool call that an item of a response is. The id of the item stays in it.
fn call_item(item: &mut Fields, response_id: &str, index: i32) -> Option<CallReport> {
    if short(item, "type") != "function_call" {
        return None;
    }
    let mut item_id = match item.slot("id") {
        Some(Document::String(id)) => id.clone(),
        Some(_) | None => String::new(),
    };
    shorten(&mut item_id);
    Some(CallReport {
        response_id: response_id.to_owned(),
        item_id,
        call_id: short(item, "call_id"),
        index,
        name: short(item, "name"),
        arguments: text_or_json(item, "arguments"),
    })
}

/// The index of an item in its response.
fn index_of(fields: &mut Fields) -> i32 {
    fields.whole("output_index").unwrap_or_default()
}

fn call(fields: &mut Fields, arguments_key: &str) -> CallReport {
    CallReport {
        response_id: short(fields, "response_id"),
        item_id: short(fields, "item_id"),
        call_id: short(fields, "call_id"),
        index: index_of(fields),
        name: short(fields, "name"),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::captures::cases;
    use super::*;
    use crate::chat::document::Real;
    use crate::chat::live_event::{ResponseStatus, UpstreamSession};
    use crate::chat::live_session::{AudioEncoding, AudioFormat};
    use crate::dashscope::json::WrittenObject;
    use crate::error::Reason;

    fn decode(json: &str) -> UpstreamEvent {
        Decoder::default().decode(json).unwrap()
    }

    fn delta(response_id: &str, item_id: &str, piece: LivePiece) -> UpstreamDelta {
        UpstreamDelta {
            response_id: response_id.to_owned(),
            item_id: item_id.to_owned(),
            piece,
            is_snapshot: false,
        }
    }

    /// An event in one line: what is typed of it, and the names of its other keys.
    fn describe(event: &UpstreamEvent) -> String {
        let keys = |object: &Object| {
            let keys = object.0.iter().map(|(key, _)| key.as_str());
            keys.collect::<Vec<_>>().join(" ")
        };
        let session = |session: &UpstreamSession| {
            let format = session.output_audio;
            let format = format.map(|of| (of.encoding, of.sample_rate));
            format!("{} {:?} {format:?}", session.id, session.voice)
        };
        match event {
            UpstreamEvent::SessionCreated(of) => format!("SessionCreated {}", session(of)),
            UpstreamEvent::SessionUpdated(of) => format!("SessionUpdated {}", session(of)),
            UpstreamEvent::Delta(of) => {
                let form = if of.is_snapshot { "Snapshot" } else { "Delta" };
                let piece = match &of.piece {
                    LivePiece::ToolCall(call) => format!(
                        "ToolCall({} {:?} {:?} {:?})",
                        call.index, call.id, call.name, call.arguments
                    ),
                    LivePiece::Audio(bytes) => format!("Audio({:?})", &bytes[..]),
                    LivePiece::Text(_) | LivePiece::Transcript(_) => format!("{:?}", of.piece),
                };
                format!("{form} {} {} {piece}", of.response_id, of.item_id)
            }
            UpstreamEvent::ResponseDone(of) => {
                let usage = of.usage.as_ref().map(|usage| {
                    let details = |details: &Option<crate::chat::usage::TokensDetails>| {
                        let details = details.as_ref();
                        details.map(|of| (of.text_tokens, of.audio_tokens, of.image_tokens))
                    };
                    format!(
                        "input {:?} {:?} output {:?} {:?} total {:?} characters {:?}",
                        usage.input_tokens,
                        details(&usage.input_tokens_details),
                        usage.output_tokens,
                        details(&usage.output_tokens_details),
                        usage.total_tokens,
                        usage.characters
                    )
                });
                let (id, status, reason) = (&of.id, of.status, &of.reason);
                let rest = keys(&of.extra);
                format!("ResponseDone {id} {status:?} {reason:?} {usage:?} [{rest}]")
            }
            UpstreamEvent::Unknown { kind, event } => format!("Unknown {kind} [{}]", keys(event)),
            UpstreamEvent::ItemDone { .. } => format!("{event:?}").replace(", call: None", ""),
            UpstreamEvent::Transcript { .. } => format!("{event:?}").replace(", usage: None", ""),
            UpstreamEvent::SessionFinished
            | UpstreamEvent::SpeechStarted(_)
            | UpstreamEvent::SpeechStopped(_)
            | UpstreamEvent::Committed { .. }
            | UpstreamEvent::ItemCreated { .. }
            | UpstreamEvent::TranscriptFailed { .. }
            | UpstreamEvent::ResponseCreated { .. }
            | UpstreamEvent::Error(_)
            | UpstreamEvent::Ignored => format!("{event:?}"),
        }
    }

    #[test]
    fn recorded_events_are_decoded_as_expected() {
        let mut wrong = Vec::new();
        for case in cases() {
            let mut decoder = Decoder::default();
            for (at, frame) in case["frames"].as_array().unwrap().iter().enumerate() {
                let Some(server) = frame.get("server") else {
                    continue;
                };
                let event = decoder.decode(&server.to_string()).unwrap();
                let described = describe(&event);
                if frame["gives"] != described.as_str() {
                    let name = case["case"].as_str().unwrap();
                    wrong.push(json!([format!("{name}:{at}"), described]).to_string());
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn audio_is_decoded_in_every_form() {
        let audio = |text: &str| {
            let ids = r#""response_id":"r","item_id":"i""#;
            format!(r#"{{"type":"response.audio.delta",{ids},"delta":{text}}}"#)
        };
        let expected = UpstreamEvent::Delta(delta("r", "i", LivePiece::Audio(vec![1].into())));
        for text in [
            r#""AQ==""#,
            r#""AQ""#,
            r#""AQ\u003d\u003d""#,
            r#""\u0041Q==""#,
        ] {
            assert_eq!(decode(&audio(text)), expected, "{text}");
        }
        for text in [r#""A""#, r#""*""#, r#""AQ==AQ==""#] {
            let error = Decoder::default().decode(&audio(text)).unwrap_err();
            assert_eq!(error.reason(), Reason::UpstreamProtocol, "{text}");
        }
    }

    #[test]
    fn unusual_types_of_values_are_accepted() {
        let text = |text: &str| LivePiece::Text(text.to_owned());
        for (json, expected) in [
            (
                json!({"type": "response.text.delta", "delta": "a"}),
                UpstreamEvent::Delta(delta("", "", text("a"))),
            ),
            (
                json!({"type": "response.text.delta", "response_id": 7, "item_id": null,
                    "delta": "a"}),
                UpstreamEvent::Delta(delta("7", "", text("a"))),
            ),
            (
                json!({"type": "response.text.delta", "response_id": {}, "item_id": [],
                    "delta": 1.5}),
                UpstreamEvent::Delta(delta("", "", text("1.5"))),
            ),
            (
                json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": "250"}),
                UpstreamEvent::SpeechStarted(SpeechBoundary {
                    at: Duration::from_millis(250),
                    ..SpeechBoundary::default()
                }),
            ),
            (
                json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": -1,
                    "item_id": 3}),
                UpstreamEvent::SpeechStopped(SpeechBoundary {
                    item_id: "3".to_owned(),
                    ..SpeechBoundary::default()
                }),
            ),
            (
                json!({"type": "error", "error": "stopped"}),
                UpstreamEvent::Error(UpstreamError {
                    message: "stopped".to_owned(),
                    ..UpstreamError::default()
                }),
            ),
            (
                json!({"code": 400, "message": "bad"}),
                UpstreamEvent::Error(UpstreamError {
                    code: "400".to_owned(),
                    message: "bad".to_owned(),
                    ..UpstreamError::default()
                }),
            ),
            (
                json!({"choices": [{"delta": {"content": "a"}}]}),
                UpstreamEvent::Delta(delta("", "", text("a"))),
            ),
            (
                json!({"choices": [{"delta": {"audio": {"data": "AQID"}}}]}),
                UpstreamEvent::Delta(delta("", "", LivePiece::Audio(vec![1, 2, 3].into()))),
            ),
            (json!({"choices": []}), UpstreamEvent::Ignored),
        ] {
            assert_eq!(decode(&json.to_string()), expected, "{json}");
        }
        // Keys may be repeated: the last counts.
        let twice = r#"{"type":"response.text.delta","delta":"a","delta":"b"}"#;
        let expected = UpstreamEvent::Delta(delta("", "", text("b")));
        assert_eq!(decode(twice), expected);
        let half = r#"{"type":"response.text.delta","delta":"a\ud83d"}"#;
        let expected = UpstreamEvent::Delta(delta("", "", text("a\u{fffd}")));
        assert_eq!(decode(half), expected);
    }

    #[test]
    fn frames_that_are_no_objects_are_errors() {
        for text in ["", "{", "[1]", "1", "null", "oops{", "{}{}"] {
            let error = Decoder::default().decode(text).unwrap_err();
            assert_eq!(error.reason(), Reason::UpstreamProtocol, "{text:?}");
        }
    }

    #[test]
    fn the_reported_format_of_output_is_read() {
        let of = |session: Value| {
            let json = json!({"type": "session.updated", "session": session}).to_string();
            let UpstreamEvent::SessionUpdated(session) = decode(&json) else {
                panic!("no session");
            };
            session.output_audio
        };
        let format = |encoding, sample_rate| {
            Some(AudioFormat {
                encoding,
                sample_rate,
            })
        };
        let nested = json!({"output": {"format": {"type": "wav", "sample_rate": "8000"}}});
        for (session, expected) in [
            (
                json!({"output_audio_format": "pcm24"}),
                format(AudioEncoding::Pcm, Some(24_000)),
            ),
            (
                json!({"output_audio_format": "pcm16"}),
                format(AudioEncoding::Pcm, None),
            ),
            (json!({"output_audio_format": "pcm99"}), None),
            (
                json!({"response_format": "pcm", "sample_rate": 4_000_000_000_u32}),
                format(AudioEncoding::Pcm, None),
            ),
            (
                json!({"response_format": "pcm", "sample_rate": 1}),
                format(AudioEncoding::Pcm, None),
            ),
            (json!({}), None),
            (json!(null), None),
            (
                json!({"response_format": "mp3", "sample_rate": 48_000}),
                format(AudioEncoding::Mp3, Some(48_000)),
            ),
            (
                json!({"output_audio_format": "pcm24", "audio": nested}),
                format(AudioEncoding::Wav, Some(8_000)),
            ),
        ] {
            assert_eq!(of(session.clone()), expected, "{session}");
        }
    }

    #[test]
    fn the_end_of_a_response_keeps_what_no_field_holds() {
        let json = json!({"type": "response.done", "response": {"id": "r", "status": "failed",
            "status_details": {"type": "failed", "error": {"code": "server_error"}},
            "output": [{"id": "i"}], "usage": {"total_tokens": "7", "plugins": {"map": 1}},
            "moons": [1]}});
        let UpstreamEvent::ResponseDone(done) = decode(&json.to_string()) else {
            panic!("no response");
        };
        assert_eq!(
            (done.status, &*done.reason),
            (ResponseStatus::Failed, "server_error")
        );
        let usage = done.usage.unwrap();
        assert_eq!(usage.total_tokens, Some(7));
        assert!(!usage.extra.is_empty());
        let extra = serde_json::to_value(WrittenObject(&done.extra)).unwrap();
        let details = json!({"type": "failed", "error": {"code": "server_error"}});
        assert_eq!(extra, json!({"status_details": details, "moons": [1]}));

        for (status, expected) in [
            (json!("completed"), ResponseStatus::Completed),
            (json!("cancelled"), ResponseStatus::Cancelled),
            (json!("incomplete"), ResponseStatus::Incomplete),
            (json!("paused"), ResponseStatus::Other),
            (json!(null), ResponseStatus::Completed),
        ] {
            let json = json!({"type": "response.done", "response": {"status": status}});
            let UpstreamEvent::ResponseDone(done) = decode(&json.to_string()) else {
                panic!("no response");
            };
            assert_eq!(done.status, expected);
            let is_kept = done.extra.value("status").is_some();
            assert_eq!(is_kept, expected == ResponseStatus::Other);
        }
    }

    fn value() -> impl Strategy<Value = Document> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Document::Bool),
            (-1000_i32..1000).prop_map(|n| Document::Number(Real(f64::from(n) / 4.0))),
            "\\PC{0,8}".prop_map(Document::String),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Document::List),
                proptest::collection::btree_map("[a-z_]{1,6}", inner, 0..3)
                    .prop_map(|map| { Document::Object(Object(map.into_iter().collect())) }),
            ]
        })
    }

    fn keys() -> impl Strategy<Value = Object> {
        let keys = proptest::collection::btree_map("x_[a-z]{1,6}", value(), 0..5);
        keys.prop_map(|map| Object(map.into_iter().collect()))
    }

    fn written(object: &Object) -> String {
        serde_json::to_string(&WrittenObject(object)).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_without_panic(text in "\\PC{0,60}") {
            let _ = Decoder::default().decode(&text);
        }

        /// Values of any type under the keys of events.
        #[test]
        fn any_values_are_decoded_without_panic(
            kind in 0..40_usize,
            values in proptest::collection::vec((0..16_usize, value()), 0..8),
        ) {
            const KEYS: [&str; 16] = [
                "session", "item", "response", "error", "delta", "text", "stash", "transcript",
                "item_id", "response_id", "call_id", "arguments", "usage", "choices", "name",
                "audio_start_ms",
            ];
            let mut event = Object::default();
            if let Some(name) = EventKind::names().nth(kind) {
                event.merge(Object(vec![("type".to_owned(), Document::String(name.to_owned()))]));
            }
            for (key, value) in values {
                event.merge(Object(vec![(KEYS[key].to_owned(), value)]));
            }
            let _ = Decoder::default().decode(&written(&event));
        }

        #[test]
        fn unknown_events_and_keys_are_kept(object in keys()) {
            let mut event = object.clone();
            event.0.insert(0, ("type".to_owned(), Document::String("future.event".to_owned())));
            let UpstreamEvent::Unknown { kind, event: kept } = decode(&written(&event)) else {
                panic!("not unknown");
            };
            prop_assert_eq!(kind, "future.event");
            prop_assert_eq!(kept, event);

            let inner = written(&object);
            let done = format!(r#"{{"type":"response.done","response":{inner}}}"#);
            let UpstreamEvent::ResponseDone(response) = decode(&done) else {
                panic!("no response");
            };
            prop_assert_eq!(&response.extra, &object);

            let created = format!(r#"{{"type":"session.created","session":{inner}}}"#);
            let UpstreamEvent::SessionCreated(session) = decode(&created) else {
                panic!("no session");
            };
            prop_assert_eq!(session.fields, object);
        }
    }
}
