//! Any text as a frame of DashScope's realtime interface: it is an event or an invalid answer, and
//! its audio is what a plain decoder reads. The same text in events that are sent arrives as it is.
#![no_main]

use std::sync::Arc;

use dashgate::chat::live_event::{LivePiece, UpstreamEvent};
use dashgate::chat::live_session::{ConverseSetup, LiveSetup, LiveTask, SynthesisSetup};
use dashgate::dashscope::realtime::{self, ClientEvent, Codec, Dialect, DialectTask, EventId};
use dashgate::error::{Error, Reason};
use dashgate_fuzz::{base64, statuses};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // One decoder reads all frames of a connection, here one a line.
    let mut codec = codec(Dialect::all()[0]);
    for line in text.lines() {
        match codec.decode(line) {
            Ok(event) => check(line, &event),
            Err(error) => assert_eq!(error.reason(), Reason::UpstreamProtocol),
        }
    }
    for dialect in Dialect::all() {
        send(dialect, text);
    }
    statuses::check(&realtime::close_error(None, text));
    statuses::check(&realtime::close_error(Some(1011), text));
});

fn codec(dialect: &'static Dialect) -> Codec {
    let task = match dialect.task {
        DialectTask::Converse => LiveTask::Converse(Box::<ConverseSetup>::default()),
        DialectTask::Synthesize => LiveTask::Synthesize(Box::<SynthesisSetup>::default()),
    };
    let model = Arc::from("m");
    Codec::new(&LiveSetup { model, task }, dialect)
}

/// What is read of an event: errors keep the rules of all errors, and audio is complete.
fn check(line: &str, event: &UpstreamEvent) {
    match event {
        UpstreamEvent::Error(error) => statuses::check(&realtime::error_of(error)),
        UpstreamEvent::Delta(delta) => {
            let LivePiece::Audio(audio) = &delta.piece else {
                return;
            };
            let json = serde_json::from_str(line).unwrap_or(Value::Null);
            let Some(Value::String(text)) = json.get("delta") else {
                return;
            };
            if let Some(plain) = base64::decode(text) {
                assert_eq!(plain, audio[..]);
            }
        }
        _ => {}
    }
}

/// The text in every event that a dialect has.
fn send(dialect: &'static Dialect, text: &str) {
    let mut codec = codec(dialect);
    let setup = codec.setup().expect("a setup without options");
    event(&setup.text, setup.event_id);
    for (sent, path) in [
        (ClientEvent::Audio(text.as_bytes()), "/audio"),
        (ClientEvent::Image(text.as_bytes()), "/image"),
        (ClientEvent::UserText(text), "/item/content/0/text"),
        (ClientEvent::SynthesisText(text), "/text"),
        (ClientEvent::DeleteItem(text), "/item_id"),
    ] {
        let frame = match codec.encode(&sent) {
            Ok(frame) => frame,
            Err(error) => {
                refused(&error);
                continue;
            }
        };
        let json = event(&frame.text, frame.event_id);
        let found = json
            .pointer(path)
            .and_then(Value::as_str)
            .expect("the text");
        let is_media = matches!(sent, ClientEvent::Audio(_) | ClientEvent::Image(_));
        match is_media {
            true => assert_eq!(base64::decode(found).as_deref(), Some(text.as_bytes())),
            false => assert_eq!(found, text),
        }
    }
}

fn refused(error: &Error) {
    assert_eq!(error.reason(), Reason::InvalidRequest);
    statuses::check(error);
}

/// The JSON of an event, which has this id.
fn event(text: &str, id: EventId) -> Value {
    let json: Value = serde_json::from_str(text).expect("JSON");
    let named = json["event_id"].as_str().and_then(EventId::parse);
    assert_eq!(named, Some(id));
    json
}
