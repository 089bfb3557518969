//! The events of a live session as JSON, one object per line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate_client::v1 as pb;
use dashgate_client::v1::converse_live_response::Event;
use dashgate_client::v1::response_delta::Part;

use super::message_json::{Fields, Shown, fields};
use super::schema::Schema;

/// Writes events.
pub(crate) struct EventJson {
    schema: Schema,
    /// Whether audio is included, as base64.
    with_audio: bool,
}

impl EventJson {
    /// Writes audio as base64, or only its number of bytes.
    pub(crate) fn new(with_audio: bool) -> Self {
        Self {
            schema: Schema::read(),
            with_audio,
        }
    }

    /// The line of an event. It has no resume token, which is a secret.
    pub(crate) fn line(&self, response: &pb::ConverseLiveResponse) -> String {
        let object = match &response.event {
            Some(Event::ResponseDelta(delta)) => match &delta.part {
                Some(Part::Audio(audio)) => self.audio(response.sequence, delta, audio),
                _ => self.message(response),
            },
            Some(Event::SessionStarted(started)) => {
                let started = pb::SessionStarted {
                    resume_token: String::new(),
                    ..started.clone()
                };
                self.message(&pb::ConverseLiveResponse {
                    sequence: response.sequence,
                    event: Some(Event::SessionStarted(started)),
                })
            }
            _ => self.message(response),
        };
        let mut line = serde_json::to_string(&object).unwrap_or_default();
        line.push('\n');
        line
    }

    fn message(&self, response: &pb::ConverseLiveResponse) -> Fields {
        fields(&self.schema, "ConverseLiveResponse", response)
    }

    fn audio(&self, sequence: i32, delta: &pb::ResponseDelta, audio: &[u8]) -> Fields {
        let bytes = i64::try_from(audio.len()).unwrap_or(i64::MAX);
        let text = |text: &str| Shown::Text(text.to_owned());
        let mut inner = vec![
            ("response_id".to_owned(), text(&delta.response_id)),
            ("item_id".to_owned(), text(&delta.item_id)),
            ("audio_bytes".to_owned(), Shown::Whole(bytes)),
        ];
        if self.with_audio {
            let encoded = STANDARD.encode(audio);
            inner.push(("audio".to_owned(), Shown::Text(encoded)));
        }
        Fields(vec![
            ("sequence".to_owned(), Shown::Whole(sequence.into())),
            ("response_delta".to_owned(), Shown::Object(Fields(inner))),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(with_audio: bool, event: Event) -> String {
        let event = Some(event);
        EventJson::new(with_audio).line(&pb::ConverseLiveResponse { sequence: 7, event })
    }

    #[test]
    fn audio_is_a_number_of_bytes_unless_it_is_requested() {
        let delta = || {
            Event::ResponseDelta(pb::ResponseDelta {
                response_id: "r".into(),
                item_id: "i".into(),
                part: Some(Part::Audio(vec![1, 2, 3].into())),
            })
        };
        let short = r#"{"sequence":7,"response_delta":{"response_id":"r","item_id":"i","#;
        assert_eq!(
            line(false, delta()),
            format!("{short}\"audio_bytes\":3}}}}\n")
        );
        let whole = format!("{short}\"audio_bytes\":3,\"audio\":\"AQID\"}}}}\n");
        assert_eq!(line(true, delta()), whole);
    }

    #[test]
    fn the_resume_token_is_not_printed() {
        let started = Event::SessionStarted(pb::SessionStarted {
            session_id: "s".into(),
            resume_token: "secret".into(),
            ..pb::SessionStarted::default()
        });
        let expected = "{\"sequence\":7,\"session_started\":{\"session_id\":\"s\"}}\n";
        assert_eq!(line(true, started), expected);
    }
}
