//! What the events of a call add up to.

use bytes::{Bytes, BytesMut};

use super::document::Object;
use super::event::{Delta, End, Event, Logprobs, Piece, SearchInfo, Started};
use super::media::{Audio, AudioFile, Image, Medium, Source};
use super::turn::{Body, Part, Role, ToolCall, Turn};
use super::usage::Usage;

/// The MIME type of sound that comes in pieces: 16-bit little-endian mono at 24 kHz.
pub const STREAMED_AUDIO: &str = "audio/pcm";

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Who answered, and under which name.
    pub started: Started,
    /// The answers, in the order of their index.
    pub choices: Vec<Choice>,
    /// What it used.
    pub usage: Option<Box<Usage>>,
    /// The sources that were found.
    pub search: Option<SearchInfo>,
    /// What DashScope wrote beside all this.
    pub extra_output: Object,
}

/// One of the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Which one, from 0.
    pub index: i32,
    /// The answer as a turn that can be appended to the conversation.
    pub turn: Turn,
    /// Why it ended, in DashScope's word.
    pub finish_reason: String,
    /// How likely its words were.
    pub logprobs: Option<Logprobs>,
}

/// Adds events up.
#[derive(Debug, Default)]
pub struct Fold {
    started: Started,
    drafts: Vec<Draft>,
    search: Option<SearchInfo>,
}

/// An answer in the making.
#[derive(Debug)]
struct Draft {
    index: i32,
    turn: Turn,
    audio: BytesMut,
    audio_file: Option<AudioFile>,
    logprobs: Option<Logprobs>,
}

impl Fold {
    /// Takes the next event. The last one gives the answer.
    pub fn push(&mut self, event: Event) -> Option<Answer> {
        match event {
            Event::Started(started) => self.started = started,
            Event::Delta(delta) => self.add(delta),
            Event::End(end) => return Some(self.finish(*end)),
        }
        None
    }

    fn add(&mut self, delta: Delta) {
        if let Piece::Search(info) = delta.piece {
            self.search = Some(info);
            return;
        }
        let draft = self.draft(delta.choice);
        match delta.piece {
            Piece::Text(text) => draft.add_text(text),
            Piece::Reasoning(text) => draft.turn.reasoning.push_str(&text),
            Piece::Audio(bytes) => draft.audio.extend_from_slice(&bytes),
            Piece::ToolCall(call) => draft.add_tool_call(call),
            Piece::Annotation(annotation) => draft.turn.annotations.push(annotation),
            Piece::Image(uri) => draft.turn.parts.push(image(uri).into()),
            Piece::AudioFile(file) => draft.audio_file = Some(file),
            Piece::Extra(extra) => draft.add_extra(extra),
            Piece::Logprobs(next) => {
                draft
                    .logprobs
                    .get_or_insert_default()
                    .content
                    .extend(next.content);
            }
            Piece::Search(_) => {}
        }
    }

    fn draft(&mut self, index: i32) -> &mut Draft {
        let at = match self.drafts.iter().position(|draft| draft.index == index) {
            Some(at) => at,
            None => {
                self.drafts.push(Draft::new(index));
                self.drafts.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.drafts[at]
    }

    fn finish(&mut self, end: End) -> Answer {
        for choice in &end.choices {
            self.draft(choice.index);
        }
        let mut choices: Vec<Choice> = std::mem::take(&mut self.drafts)
            .into_iter()
            .map(|draft| {
                let ended = end
                    .choices
                    .iter()
                    .find(|choice| choice.index == draft.index);
                draft.finish(
                    ended
                        .map(|choice| choice.finish_reason.clone())
                        .unwrap_or_default(),
                )
            })
            .collect();
        choices.sort_by_key(|choice| choice.index);
        Answer {
            started: std::mem::take(&mut self.started),
            choices,
            usage: end.usage,
            search: self.search.take(),
            extra_output: end.extra_output,
        }
    }
}

impl Draft {
    fn new(index: i32) -> Self {
        Self {
            index,
            turn: Turn::new(Role::Assistant),
            audio: BytesMut::new(),
            audio_file: None,
            logprobs: None,
        }
    }

    fn add_text(&mut self, text: String) {
        match self.turn.parts.last_mut() {
            Some(Part {
                body: Body::Text(before),
                ..
            }) => before.push_str(&text),
            _ => self.turn.parts.push(Body::Text(text).into()),
        }
    }

    fn add_extra(&mut self, extra: Object) {
        match self.turn.parts.last_mut() {
            Some(part) => part.extra.merge(extra),
            None => self.turn.parts.push(Part {
                body: Body::Other,
                cache_control: None,
                extra,
            }),
        }
    }

    fn add_tool_call(&mut self, next: ToolCall) {
        let calls = &mut self.turn.tool_calls;
        let Some(call) = calls.iter_mut().find(|call| call.index == next.index) else {
            calls.push(next);
            return;
        };
        for (old, new) in [
            (&mut call.id, next.id),
            (&mut call.kind, next.kind),
            (&mut call.name, next.name),
        ] {
            if old.is_empty() {
                *old = new;
            }
        }
        call.arguments.push_str(&next.arguments);
    }

    fn finish(mut self, finish_reason: String) -> Choice {
        if let Some(audio) = audio(self.audio.freeze(), self.audio_file.take()) {
            self.turn.parts.push(Body::Audio(audio).into());
        }
        self.turn.tool_calls.sort_by_key(|call| call.index);
        Choice {
            index: self.index,
            turn: self.turn,
            finish_reason,
            logprobs: self.logprobs,
        }
    }
}

/// A sound that came as bytes, as a file, or as both. A file alone is where the sound is.
fn audio(bytes: Bytes, file: Option<AudioFile>) -> Option<Audio> {
    let medium = if bytes.is_empty() {
        let uri = file.as_ref()?.uri.clone();
        Medium {
            mime_type: String::new(),
            source: Source::Uri(uri),
        }
    } else {
        Medium {
            mime_type: STREAMED_AUDIO.to_owned(),
            source: Source::Inline(bytes),
        }
    };
    Some(Audio {
        medium: Some(medium),
        file,
    })
}

fn image(uri: String) -> Body {
    let medium = Medium {
        mime_type: String::new(),
        source: Source::Uri(uri),
    };
    Body::Image(Image {
        medium,
        min_pixels: None,
        max_pixels: None,
        enable_rotate: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::event::ChoiceEnd;

    fn delta(choice: i32, piece: Piece) -> Event {
        Event::Delta(Delta { choice, piece })
    }

    fn end(indices: &[i32]) -> Event {
        let choices = indices
            .iter()
            .map(|&index| ChoiceEnd {
                index,
                finish_reason: "stop".to_owned(),
            })
            .collect();
        Event::End(Box::new(End {
            choices,
            ..End::default()
        }))
    }

    fn fold(events: Vec<Event>) -> Answer {
        let mut fold = Fold::default();
        events
            .into_iter()
            .find_map(|event| fold.push(event))
            .unwrap()
    }

    #[test]
    fn text_grows_and_choices_are_told_apart() {
        let answer = fold(vec![
            delta(1, Piece::Text("b".into())),
            delta(0, Piece::Text("a".into())),
            delta(1, Piece::Text("c".into())),
            end(&[0, 1]),
        ]);
        let texts: Vec<_> = answer
            .choices
            .iter()
            .map(|c| c.turn.parts[0].body.clone())
            .collect();
        assert_eq!(texts, [Body::Text("a".into()), Body::Text("bc".into())]);
    }

    #[test]
    fn tool_calls_are_joined_by_index() {
        let piece = |index, id: &str, arguments: &str| {
            let call = ToolCall {
                index,
                id: id.into(),
                arguments: arguments.into(),
                ..ToolCall::default()
            };
            delta(0, Piece::ToolCall(call))
        };
        let answer = fold(vec![
            piece(1, "y", "{"),
            piece(0, "x", "["),
            piece(1, "", "}"),
            piece(0, "", "]"),
            end(&[0]),
        ]);
        let calls = &answer.choices[0].turn.tool_calls;
        let seen: Vec<_> = calls
            .iter()
            .map(|c| (c.id.as_str(), c.arguments.as_str()))
            .collect();
        assert_eq!(seen, [("x", "[]"), ("y", "{}")]);
    }

    #[test]
    fn a_choice_that_said_nothing_is_still_there() {
        let answer = fold(vec![end(&[0])]);
        assert_eq!(answer.choices.len(), 1);
        assert_eq!(answer.choices[0].finish_reason, "stop");
        assert!(answer.choices[0].turn.parts.is_empty());
    }
}
