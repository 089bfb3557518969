//! Events as bytes, for the store: MessagePack with the names of fields, one event after the other,
//! so that a replica of the next version can add a field.

use crate::chat::event::Event;
use crate::error::{Error, Reason};

/// Appends an event.
pub(super) fn encode(event: &Event, to: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
    let before = to.len();
    rmp_serde::encode::write_named(to, event).inspect_err(|_| to.truncate(before))
}

/// All events of a batch.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let event = rmp_serde::decode::from_read(&mut bytes).map_err(|error| {
            let message = "a stored event cannot be read";
            Error::new(Reason::StoreDamaged, message).with_source(error)
        })?;
        events.push(event);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::chat::document::{Document, Object, Real};
    use crate::chat::event::{
        ChoiceEnd, Delta, End, Logprobs, Piece, SearchInfo, SearchResult, Started, TokenLogprob,
    };
    use crate::chat::media::AudioFile;
    use crate::chat::message::{Annotation, ToolCall};
    use crate::chat::usage::{TokensDetails, Usage};
    use crate::chat::warning::{Code, Warning};

    fn object() -> Object {
        let list = Document::List(vec![Document::Null, Document::Bool(true)]);
        let inner = Object(vec![("n".to_owned(), Document::Number(Real(-0.5)))]);
        Object(vec![
            ("list".to_owned(), list),
            (
                "text".to_owned(),
                Document::String("\0\u{1f600}".to_owned()),
            ),
            ("object".to_owned(), Document::Object(inner)),
        ])
    }

    fn pieces() -> Vec<Piece> {
        let token = TokenLogprob {
            token: "一".to_owned(),
            ..TokenLogprob::default()
        };
        vec![
            Piece::Text("一".to_owned()),
            Piece::Reasoning("why".to_owned()),
            Piece::Audio(Bytes::from_static(&[0, 255, 128])),
            Piece::ToolCall(ToolCall {
                index: 1,
                name: "f".to_owned(),
                extra: object(),
                ..ToolCall::default()
            }),
            Piece::Annotation(Annotation {
                language: "zh".to_owned(),
                ..Annotation::default()
            }),
            Piece::Image("https://x/1.png".to_owned()),
            Piece::AudioFile(AudioFile {
                uri: "https://x/1.wav".to_owned(),
                expires_at: Some(7),
                ..AudioFile::default()
            }),
            Piece::Extra(object()),
            Piece::MessageExtra(object()),
            Piece::Logprobs(Logprobs {
                content: vec![token],
                extra: object(),
            }),
            Piece::Search(SearchInfo {
                results: vec![SearchResult::default()],
                extra: Object::default(),
            }),
        ]
    }

    fn events() -> Vec<Event> {
        let started = Event::Started(Started {
            model: Arc::from("m"),
            upstream_request_id: "r".to_owned(),
        });
        let delta = |piece| {
            Event::Delta(Delta {
                choice: 1,
                starts_part: true,
                piece,
            })
        };
        let details = TokensDetails {
            audio_tokens: Some(3),
            ..TokensDetails::default()
        };
        let end = Event::End(Box::new(End {
            choices: vec![ChoiceEnd {
                index: 0,
                finish_reason: "stop".to_owned(),
                extra: object(),
            }],
            usage: Some(Arc::new(Usage {
                total_tokens: Some(9),
                seconds: Some(Real(1.5)),
                input_tokens_details: Some(details),
                extra: object(),
                ..Usage::default()
            })),
            warnings: vec![Warning::new(Code::AudioTruncated, "f", "m")],
            ..End::default()
        }));
        let deltas = pieces().into_iter().map(delta);
        std::iter::once(started)
            .chain(deltas)
            .chain([end])
            .collect()
    }

    #[test]
    fn every_event_is_read_as_it_was_written() {
        let (events, mut bytes) = (events(), Vec::new());
        for event in &events {
            encode(event, &mut bytes).unwrap();
        }
        assert_eq!(decode(&bytes).unwrap(), events);
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn events_of_an_earlier_and_of_the_next_version_are_read() {
        // {"Started": {"model": "m", "later": 1}}, and without what was added since.
        let later = b"\x81\xa7Started\x82\xa5model\xa1m\xa5later\x01";
        let expected = Event::Started(Started {
            model: Arc::from("m"),
            upstream_request_id: String::new(),
        });
        assert_eq!(decode(later).unwrap(), [expected]);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut bytes = Vec::new();
        encode(&events()[1], &mut bytes).unwrap();
        for length in 1..bytes.len() {
            let error = decode(&bytes[..length]).unwrap_err();
            assert_eq!(error.reason(), Reason::StoreDamaged);
        }
        assert!(decode(b"\xc1").is_err());
    }
}
