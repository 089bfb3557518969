//! Reads what DashScope reports of a session and of a response.

use std::ops::RangeInclusive;

use super::fields::{at, nested, short, shorten, text_at};
use crate::chat::document::{Document, Object};
use crate::chat::live_event::{ResponseStatus, UpstreamResponse, UpstreamSession};
use crate::chat::live_session::AudioEncoding::{self, Mp3, Opus, Pcm, Wav};
use crate::chat::live_session::AudioFormat;
use crate::chat::usage::Usage;
use crate::dashscope::json_fields::{self, Fields};
use crate::dashscope::usage;

/// The names of formats, and the rates that they imply. `pcm16` has 16 bits, at any rate.
const FORMATS: &[(&str, AudioEncoding, Option<u32>)] = &[
    ("pcm24", Pcm, Some(24_000)),
    ("pcm16", Pcm, None),
    ("pcm", Pcm, None),
    ("wav", Wav, None),
    ("mp3", Mp3, None),
    ("opus", Opus, None),
];

/// The sample rates that are believed: those of speech. The memory for resampling depends on the
/// ratio of the rates.
const RATES: RangeInclusive<u32> = 8_000..=48_000;

/// The weight beyond which an object is no usage.
const MAX_USAGE: usize = 64 << 10;

/// The object in `session`.
pub(super) fn session(fields: &mut Fields) -> UpstreamSession {
    let fields = match fields.take("session") {
        Some(Document::Object(object)) => object,
        Some(_) | None => Object::default(),
    };
    let voice = text_at(&fields, &["audio", "output", "voice"]);
    let voice = voice.or_else(|| text_at(&fields, &["voice"]));
    let owned = |text: Option<&str>| {
        let mut text = text.unwrap_or_default().to_owned();
        shorten(&mut text);
        text
    };
    UpstreamSession {
        id: owned(text_at(&fields, &["id"])),
        voice: owned(voice),
        output_audio: output_audio(&fields),
        fields,
    }
}

/// The format of output audio. The nested form has precedence, because it replaces the others.
fn output_audio(session: &Object) -> Option<AudioFormat> {
    const NESTED: &[&str] = &["audio", "output", "format", "type"];
    let forms = [
        (NESTED, &["audio", "output", "format", "sample_rate"][..]),
        (&["response_format"], &["sample_rate"]),
        (&["output_audio_format"], &[]),
    ];
    forms.into_iter().find_map(|(name, rate)| {
        let name = text_at(session, name)?;
        let (_, encoding, implied) = FORMATS.iter().find(|(known, ..)| *known == name)?;
        let rate = at(session, rate).and_then(json_fields::whole);
        let rate = rate.and_then(|rate| u32::try_from(rate).ok());
        Some(AudioFormat {
            encoding: *encoding,
            sample_rate: rate.filter(|rate| RATES.contains(rate)).or(*implied),
        })
    })
}

/// The object in `response` of `response.done`, and its items.
pub(super) fn response(event: &mut Fields) -> (UpstreamResponse, Vec<Fields>) {
    let mut fields = nested(event, "response");
    let mut id = short(&mut fields, "id");
    if id.is_empty() {
        id = short(event, "response_id");
    }
    let status = status(&mut fields);
    let reason = reason(&mut fields);
    let usage = usage_of(&mut fields).or_else(|| usage_of(event));
    let items = fields.list("output", Fields::of).unwrap_or_default();
    // What is no item was emitted as deltas, too.
    let _ = fields.take("output");
    let response = UpstreamResponse {
        id,
        status,
        reason,
        usage,
        calls: Vec::new(),
        extra: fields.rest(),
    };
    (response, items)
}

/// The status. One that is not known stays among the other keys.
fn status(fields: &mut Fields) -> ResponseStatus {
    let known = fields.with("status", |document| match &document {
        Document::String(text) => match text.as_str() {
            "completed" => Ok(ResponseStatus::Completed),
            "cancelled" | "canceled" => Ok(ResponseStatus::Cancelled),
            "incomplete" => Ok(ResponseStatus::Incomplete),
            "failed" => Ok(ResponseStatus::Failed),
            _ => Err(document),
        },
        Document::Null
        | Document::Bool(_)
        | Document::Number(_)
        | Document::List(_)
        | Document::Object(_) => Err(document),
    });
    let has_other = fields.slot("status").is_some_and(|s| *s != Document::Null);
    match known {
        Some(status) => status,
        None if has_other => ResponseStatus::Other,
        None => ResponseStatus::Completed,
    }
}

/// `reason` of the details, or the code of the error in them. What else is in them stays.
fn reason(fields: &mut Fields) -> String {
    let mut details = match fields.with("status_details", Fields::of) {
        Some(details) => details,
        None => return String::new(),
    };
    let mut reason = short(&mut details, "reason");
    if reason.is_empty()
        && let Some(Document::Object(error)) = details.slot("error")
    {
        reason = text_at(error, &["code"]).unwrap_or_default().to_owned();
        shorten(&mut reason);
    }
    let rest = details.rest();
    if let Some(slot) = fields.slot("status_details").filter(|_| !rest.is_empty()) {
        *slot = Document::Object(rest);
    }
    reason
}

/// The usage in `usage`.
pub(super) fn usage_of(fields: &mut Fields) -> Option<Usage> {
    match fields.take("usage") {
        Some(Document::Object(object)) if object.weight() <= MAX_USAGE => {
            Some(usage::usage(object))
        }
        Some(other) => {
            // No usage: it stays where it is.
            if let Some(slot) = fields.slot("usage") {
                *slot = other;
            }
            None
        }
        None => None,
    }
}
