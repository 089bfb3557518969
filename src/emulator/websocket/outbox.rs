//! The frames that a session has still to send, in order and bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The most frames that wait. A session answers each frame of its client with a few, and paces its
/// audio, so that only a client that sends without reading reaches it.
const MAX_FRAMES: usize = 1024;
/// Characters of a random id after its prefix.
const ID_CHARACTERS: usize = 21;
/// Close code of a normal end.
pub(in crate::emulator) const NORMAL: u16 = 1000;

/// A frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Outgoing {
    /// A text frame, with the type of its event.
    Text {
        /// The type of the event, for scripts. Empty if it is none.
        kind: String,
        /// The text.
        text: String,
    },
    /// A binary frame.
    Binary(Bytes),
    /// The close frame, with its code and reason.
    Close(u16, String),
}

/// The frames to send.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Outbox {
    frames: VecDeque<Outgoing>,
    is_closing: bool,
    overflowed: bool,
}

impl Outbox {
    /// Queues an event of the realtime socket: a new event id, the type, then the fields.
    pub(in crate::emulator) fn event(&mut self, kind: &str, fields: Value) {
        let mut event = Map::new();
        event.insert("event_id".into(), json!(new_id("event")));
        event.insert("type".into(), json!(kind));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.text(kind, Value::Object(event).to_string());
    }

    /// Queues a text frame.
    pub(in crate::emulator) fn text(&mut self, kind: &str, text: String) {
        self.push(Outgoing::Text {
            kind: kind.to_owned(),
            text,
        });
    }

    /// Queues a binary frame.
    pub(in crate::emulator) fn binary(&mut self, bytes: Bytes) {
        self.push(Outgoing::Binary(bytes));
    }

    /// Queues the close frame, after which nothing is sent.
    pub(in crate::emulator) fn close(&mut self, code: u16, reason: &str) {
        self.push(Outgoing::Close(code, reason.to_owned()));
        self.is_closing = true;
    }

    /// Queues a frame before those that wait.
    pub(in crate::emulator) fn first(&mut self, frame: Outgoing) {
        self.frames.push_front(frame);
    }

    /// Whether the close frame is queued or sent.
    pub(in crate::emulator) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether more frames were queued than fit; the connection then ends.
    pub(in crate::emulator) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether nothing waits.
    pub(in crate::emulator) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The next frame to send.
    pub(in crate::emulator) fn next(&mut self) -> Option<Outgoing> {
        self.frames.pop_front()
    }

    /// Drops what waits, so that what is queued next is sent next.
    pub(in crate::emulator) fn drop_waiting(&mut self) {
        self.frames.clear();
        self.is_closing = false;
    }

    fn push(&mut self, frame: Outgoing) {
        if self.is_closing {
            return;
        }
        if self.frames.len() >= MAX_FRAMES {
            self.overflowed = true;
            return;
        }
        self.frames.push_back(frame);
    }
}

/// A random id in DashScope's form, such as `event_B4o9RHSTWobB5OQdEHLTo`.
pub(in crate::emulator) fn new_id(prefix: &str) -> String {
    let characters = (0..ID_CHARACTERS).map(|_| fastrand::alphanumeric());
    format!("{prefix}_{}", characters.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_the_close_frame() {
        let mut out = Outbox::default();
        out.event("a", json!({"x": 1}));
        out.close(NORMAL, "");
        out.event("b", json!({}));
        let Some(Outgoing::Text { kind, text }) = out.next() else {
            panic!("no text");
        };
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((kind.as_str(), &event["x"]), ("a", &json!(1)));
        assert_eq!(event["event_id"].as_str().unwrap().len(), 6 + ID_CHARACTERS);
        assert_eq!(out.next(), Some(Outgoing::Close(NORMAL, String::new())));
        assert_eq!(out.next(), None);
    }

    #[test]
    fn the_number_of_waiting_frames_is_bounded() {
        let mut out = Outbox::default();
        for _ in 0..=MAX_FRAMES {
            out.binary(Bytes::new());
        }
        assert!(out.overflowed());
        assert_eq!(out.frames.len(), MAX_FRAMES);
    }
}
