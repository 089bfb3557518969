//! Divides content that DashScope sent at once, so that each event is far below the size of a
//! message that gRPC clients accept by default, which is 4 MiB.

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
    let is_long = |event: &LiveEvent| match event {
        LiveEvent::Delta { piece, .. } => piece.len() > MAX_CONTENT,
        LiveEvent::Started(_)
        | LiveEvent::Updated(_)
        | LiveEvent::SpeechStarted(_)
        | LiveEvent::SpeechStopped(_)
        | LiveEvent::Committed { .. }
        | LiveEvent::Transcript { .. }
        | LiveEvent::ResponseStarted { .. }
        | LiveEvent::ResponseCompleted(_)
        | LiveEvent::Warning(_)
        | LiveEvent::Ending { .. }
        | LiveEvent::Ended(_) => false,
    };
    if !events.iter().any(is_long) {
        return events;
    }
    let mut all = Vec::with_capacity(events.len());
    for event in events {
        match event {
            LiveEvent::Delta {
                response_id,
                item_id,
                piece,
            } => all.extend(pieces(piece).into_iter().map(|piece| LiveEvent::Delta {
                response_id: response_id.clone(),
                item_id: item_id.clone(),
                piece,
            })),
            other => all.push(other),
        }
    }
    all
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
        let pieces = events.into_iter().map(|event| match event {
            LiveEvent::Delta { piece, .. } => piece,
            other => panic!("{other:?}"),
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
        let joined: String = pieces
            .into_iter()
            .map(|piece| match piece {
                LivePiece::Transcript(text) if text.len() <= MAX_CONTENT => text,
                other => panic!("{} bytes", other.len()),
            })
            .collect();
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
        let calls: Vec<_> = pieces
            .iter()
            .map(|piece| match piece {
                LivePiece::ToolCall(call) => (call.index, &*call.id, call.arguments.len()),
                other => panic!("{other:?}"),
            })
            .collect();
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
