//! Divides content that DashScope sent at once, so that each event is far below the size of a
//! message that gRPC clients accept by default, which is 4 MiB.

use std::sync::Arc;

use bytes::Bytes;

use crate::chat::document::Object;
use crate::chat::live_event::LivePiece;
use crate::chat::message::ToolCall;

use super::event::LiveEvent;

/// The longest content of one event, in bytes. A multiple of the size of samples.
const MAX_CONTENT: usize = 1 << 20;

/// The weight of DashScope's objects in an event beyond which they are left out: those that
/// DashScope sends have a few kilobytes, and repeat the configuration of the caller.
const MAX_OBJECT: usize = 2 << 20;

/// The events, with deltas of at most [`MAX_CONTENT`].
pub(super) fn divided(events: Vec<LiveEvent>) -> Vec<LiveEvent> {
    if !events.iter().any(is_long) {
        return events;
    }
    let mut all = Vec::with_capacity(events.len());
    for event in events {
        let LiveEvent::Delta {
            response_id,
            item_id,
            piece,
        } = event
        else {
            all.push(event);
            continue;
        };
        all.extend(pieces(piece).into_iter().map(|piece| LiveEvent::Delta {
            response_id: Arc::clone(&response_id),
            item_id: Arc::clone(&item_id),
            piece,
        }));
    }
    all
}

fn is_long(event: &LiveEvent) -> bool {
    matches!(event, LiveEvent::Delta { piece, .. } if piece.len() > MAX_CONTENT)
}

fn pieces(piece: LivePiece) -> Vec<LivePiece> {
    match piece {
        LivePiece::Audio(bytes) => of_audio(bytes).map(LivePiece::Audio).collect(),
        LivePiece::Text(text) => of_text(text).map(LivePiece::Text).collect(),
        LivePiece::Transcript(text) => of_text(text).map(LivePiece::Transcript).collect(),
        LivePiece::ToolCall(call) => {
            let index = call.index;
            let mut arguments = of_text(call.arguments);
            let first = ToolCall {
                arguments: arguments.next().unwrap_or_default(),
                ..*call
            };
            let rest = arguments.map(|arguments| ToolCall {
                index,
                arguments,
                ..ToolCall::default()
            });
            let calls = std::iter::once(first).chain(rest);
            calls.map(Box::new).map(LivePiece::ToolCall).collect()
        }
    }
}

fn of_audio(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length = bytes.len().min(MAX_CONTENT);
        (length > 0).then(|| bytes.split_to(length))
    })
}

fn of_text(mut text: String) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let rest = text.split_off(text.floor_char_boundary(MAX_CONTENT));
        let first = std::mem::replace(&mut text, rest);
        (!first.is_empty()).then_some(first)
    })
}

/// An object of DashScope, without its keys if it is larger than any event may be.
pub(super) fn bounded(object: Object) -> Object {
    match object.weight() > MAX_OBJECT {
        true => Object::default(),
        false => object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(piece: LivePiece) -> LiveEvent {
        LiveEvent::Delta {
            response_id: "r".into(),
            item_id: "i".into(),
            piece,
        }
    }

    fn divide(piece: LivePiece) -> Vec<LivePiece> {
        let end = LiveEvent::ResponseCompleted(Box::default());
        let mut events = divided(vec![delta(piece), end]);
        assert!(matches!(
            events.pop(),
            Some(LiveEvent::ResponseCompleted(_))
        ));
        let pieces = events.into_iter().map(|event| {
            let LiveEvent::Delta { piece, .. } = event else {
                panic!("{event:?}");
            };
            piece
        });
        pieces.collect()
    }

    #[test]
    fn audio_is_divided_between_samples() {
        let audio: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
        let pieces = divide(LivePiece::Audio(audio.clone().into()));
        let mut joined = Vec::new();
        for piece in pieces {
            let LivePiece::Audio(bytes) = piece else {
                panic!("no audio");
            };
            assert!(bytes.len() <= MAX_CONTENT && bytes.len().is_multiple_of(2));
            joined.extend(bytes);
        }
        assert!(joined == audio);
    }

    #[test]
    fn text_is_divided_between_characters() {
        let text = "\u{4f60}".repeat(1_000_000);
        let pieces = divide(LivePiece::Transcript(text.clone()));
        let mut joined = String::new();
        for piece in pieces {
            let LivePiece::Transcript(text) = piece else {
                panic!("no transcript");
            };
            assert!(text.len() <= MAX_CONTENT);
            joined.push_str(&text);
        }
        assert!(joined == text);
    }

    #[test]
    fn a_divided_tool_call_has_its_id_and_name_once() {
        let call = ToolCall {
            index: 3,
            id: "c".to_owned(),
            name: "f".to_owned(),
            arguments: "a".repeat(2 * MAX_CONTENT + 1),
            ..ToolCall::default()
        };
        let pieces = divide(LivePiece::ToolCall(Box::new(call)));
        let mut calls = Vec::new();
        for piece in &pieces {
            let LivePiece::ToolCall(call) = piece else {
                panic!("no call");
            };
            calls.push((call.index, &*call.id, call.arguments.len()));
        }
        assert_eq!(
            calls,
            [(3, "c", MAX_CONTENT), (3, "", MAX_CONTENT), (3, "", 1)]
        );
        let call = ToolCall {
            id: "c".to_owned(),
            ..ToolCall::default()
        };
        assert_eq!(divide(LivePiece::ToolCall(Box::new(call))).len(), 1);
    }
}
