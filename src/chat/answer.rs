//! The whole answer, collected from the events of a call.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::document::{Document, Merged, Object};
use super::event::{ChoiceEnd, Delta, End, Event, Logprobs, Piece, SearchInfo, Started};
use super::media::{Audio, AudioFile, Image, MIME_TYPE, Medium, Source};
use super::message::{Body, Part, Role, ToolCall, Turn};
use super::stored::HistoryUsed;
use super::usage::Usage;
use super::warning::Warning;

/// The MIME type of streamed audio: 16-bit little-endian mono at 24 kHz.
pub const STREAMED_AUDIO: &str = "audio/pcm";

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The model and DashScope's request id.
    pub started: Started,
    /// The choices, by index.
    pub choices: Vec<Choice>,
    /// The usage of the call.
    pub usage: Option<Arc<Usage>>,
    /// The sources of a web search.
    pub search: Option<SearchInfo>,
    /// Unknown keys of DashScope's `output`.
    pub extra_output: Object,
    /// Unknown keys of DashScope's body.
    pub extra: Object,
    /// Warnings about the answer.
    pub warnings: Vec<Warning>,
    /// The turn of a stored conversation that was made.
    pub history: Option<HistoryUsed>,
}

/// One of the choices.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The index, from 0.
    pub index: i32,
    /// The answer as a message that can be appended to the conversation.
    pub turn: Turn,
    /// DashScope's finish reason.
    pub finish_reason: String,
    /// The log probabilities of its tokens.
    pub logprobs: Option<Logprobs>,
    /// The unknown keys of the choice.
    pub extra: Object,
}

/// Collects events into an [`Answer`].
#[derive(Debug, Default)]
pub struct AnswerBuilder {
    started: Started,
    drafts: Vec<ChoiceBuilder>,
    search: Option<SearchInfo>,
}

/// A choice that is being collected.
#[derive(Debug)]
struct ChoiceBuilder {
    index: i32,
    turn: Turn,
    audio: Vec<AudioBuilder>,
    /// The unknown keys of the latest part.
    open: Merged,
    message_extra: Merged,
    /// The position of each tool call in the message, by index.
    calls: HashMap<i32, usize>,
    logprobs: Option<Logprobs>,
}

/// Audio that is being collected.
#[derive(Debug, Default)]
struct AudioBuilder {
    bytes: BytesMut,
    file: Option<AudioFile>,
}

impl AnswerBuilder {
    /// Adds the next event. Returns the answer after the last one.
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
        let starts_part = delta.starts_part;
        match delta.piece {
            Piece::Text(text) => draft.add_text(text, starts_part),
            Piece::Reasoning(text) => draft.turn.reasoning.push_str(&text),
            Piece::Audio(bytes) => draft.audio(starts_part).bytes.extend_from_slice(&bytes),
            Piece::ToolCall(call) => draft.add_tool_call(call),
            Piece::Annotation(annotation) => draft.turn.annotations.push(annotation),
            Piece::Image(uri) => draft.begin(image(uri)),
            Piece::AudioFile(file) => draft.audio(starts_part).file = Some(file),
            Piece::Extra(extra) => draft.add_extra(extra, starts_part),
            Piece::MessageExtra(extra) => draft.message_extra.merge(extra),
            Piece::Logprobs(next) => {
                let logprobs = draft.logprobs.get_or_insert_default();
                logprobs.content.extend(next.content);
                logprobs.extra.merge(next.extra);
            }
            Piece::Search(_) => {}
        }
    }

    fn draft(&mut self, index: i32) -> &mut ChoiceBuilder {
        let at = match self.drafts.iter().position(|draft| draft.index == index) {
            Some(at) => at,
            None => {
                self.drafts.push(ChoiceBuilder::new(index));
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
        let mut ends = end.choices;
        let mut choices: Vec<Choice> = std::mem::take(&mut self.drafts)
            .into_iter()
            .map(|draft| {
                let ended = ends.iter_mut().find(|end| end.index == draft.index);
                draft.finish(ended.map(std::mem::take).unwrap_or_default())
            })
            .collect();
        choices.sort_by_key(|choice| choice.index);
        Answer {
            started: std::mem::take(&mut self.started),
            choices,
            usage: end.usage,
            search: self.search.take(),
            extra_output: end.extra_output,
            extra: end.extra,
            warnings: end.warnings,
            history: end.history,
        }
    }
}

impl ChoiceBuilder {
    fn new(index: i32) -> Self {
        Self {
            index,
            turn: Turn::new(Role::Assistant),
            audio: Vec::new(),
            open: Merged::default(),
            message_extra: Merged::default(),
            calls: HashMap::new(),
            logprobs: None,
        }
    }

    fn add_text(&mut self, text: String, starts_part: bool) {
        match self.turn.parts.last_mut() {
            Some(Part {
                body: Body::Text(before),
                ..
            }) if !starts_part => before.push_str(&text),
            _ => self.begin(Body::Text(text)),
        }
    }

    /// Begins a new part.
    fn begin(&mut self, body: Body) {
        self.close();
        self.turn.parts.push(body.into());
    }

    /// Sets the unknown keys of the latest part.
    fn close(&mut self) {
        if let Some(part) = self.turn.parts.last_mut() {
            part.extra = self.open.take();
        }
    }

    fn add_extra(&mut self, extra: Object, starts_part: bool) {
        if starts_part || self.turn.parts.is_empty() {
            self.begin(Body::Other);
        }
        self.open.merge(extra);
    }

    fn add_tool_call(&mut self, next: ToolCall) {
        let calls = &mut self.turn.tool_calls;
        let at = *self.calls.entry(next.index).or_insert(calls.len());
        let Some(call) = calls.get_mut(at) else {
            calls.push(next);
            return;
        };
        for (old, new) in [(&mut call.id, next.id), (&mut call.kind, next.kind)] {
            if old.is_empty() {
                *old = new;
            }
        }
        call.name.push_str(&next.name);
        call.arguments.push_str(&next.arguments);
        call.extra.merge(next.extra);
    }

    fn audio(&mut self, starts_part: bool) -> &mut AudioBuilder {
        if starts_part || self.audio.is_empty() {
            self.audio.push(AudioBuilder::default());
        }
        let last = self.audio.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "there is at least one")]
        &mut self.audio[last]
    }

    fn finish(mut self, end: ChoiceEnd) -> Choice {
        self.close();
        self.turn.extra = self.message_extra.take();
        for track in std::mem::take(&mut self.audio) {
            let audio = audio(track.bytes.freeze(), track.file);
            self.turn
                .parts
                .extend(audio.map(|audio| Body::Audio(audio).into()));
        }
        self.turn.tool_calls.sort_by_key(|call| call.index);
        Choice {
            index: self.index,
            turn: self.turn,
            finish_reason: end.finish_reason,
            logprobs: self.logprobs,
            extra: end.extra,
        }
    }
}

/// Audio received as bytes, as a file, or as both. If there is only a file, its URL is the source.
fn audio(bytes: Bytes, file: Option<AudioFile>) -> Option<Audio> {
    let medium = if bytes.is_empty() {
        let uri = file.as_ref()?.uri.clone();
        (!uri.is_empty()).then_some(Medium {
            mime_type: String::new(),
            source: Source::Uri(uri),
        })
    } else {
        let named = file.as_ref().and_then(named_type);
        Some(Medium {
            mime_type: named.unwrap_or(STREAMED_AUDIO).to_owned(),
            source: Source::Inline(bytes),
        })
    };
    Some(Audio { medium, file })
}

/// The format of audio other than [`STREAMED_AUDIO`], if it is named.
fn named_type(file: &AudioFile) -> Option<&str> {
    match file.extra.value(MIME_TYPE) {
        Some(Document::String(named)) => Some(named).filter(|named| named.starts_with("audio/")),
        _ => None,
    }
    .map(String::as_str)
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

    fn delta(choice: i32, piece: Piece) -> Event {
        Event::Delta(Delta {
            choice,
            starts_part: false,
            piece,
        })
    }

    fn end(indices: &[i32]) -> Event {
        let choices = indices
            .iter()
            .map(|&index| ChoiceEnd {
                index,
                finish_reason: "stop".to_owned(),
                extra: Object::default(),
            })
            .collect();
        Event::End(Box::new(End {
            choices,
            ..End::default()
        }))
    }

    fn fold(events: Vec<Event>) -> Answer {
        let mut fold = AnswerBuilder::default();
        events
            .into_iter()
            .find_map(|event| fold.push(event))
            .unwrap()
    }

    #[test]
    fn text_is_concatenated_by_choice() {
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
    fn tool_calls_are_concatenated_by_index() {
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
    fn parts_that_start_explicitly_stay_separate() {
        let starts = |piece| {
            Event::Delta(Delta {
                choice: 0,
                starts_part: true,
                piece,
            })
        };
        let extra = |key: &str| Object(vec![(key.into(), Document::Bool(true))]);
        let file = |uri: &str| AudioFile {
            uri: uri.into(),
            ..AudioFile::default()
        };
        let answer = fold(vec![
            delta(0, Piece::Text("a".into())),
            delta(0, Piece::Extra(extra("k"))),
            starts(Piece::Text("b".into())),
            delta(0, Piece::Text("c".into())),
            delta(0, Piece::Extra(extra("k"))),
            starts(Piece::Extra(extra("file"))),
            delta(0, Piece::Audio(Bytes::from_static(b"1"))),
            starts(Piece::AudioFile(file("u"))),
            delta(0, Piece::MessageExtra(extra("phase"))),
            end(&[0]),
        ]);
        let turn = &answer.choices[0].turn;
        let part = |body, extra| Part {
            body,
            cache_control: None,
            extra,
        };
        let audio = |source, file| {
            let mime_type = match source {
                Source::Inline(_) => STREAMED_AUDIO.to_owned(),
                Source::Uri(_) => String::new(),
            };
            let medium = Some(Medium { mime_type, source });
            part(Body::Audio(Audio { medium, file }), Object::default())
        };
        let expected = [
            part(Body::Text("a".into()), extra("k")),
            part(Body::Text("bc".into()), extra("k")),
            part(Body::Other, extra("file")),
            audio(Source::Inline(Bytes::from_static(b"1")), None),
            audio(Source::Uri("u".into()), Some(file("u"))),
        ];
        assert_eq!(turn.parts, expected);
        assert_eq!(turn.extra, extra("phase"));
    }

    #[test]
    fn an_empty_choice_is_kept() {
        let answer = fold(vec![end(&[0])]);
        assert_eq!(answer.choices.len(), 1);
        assert_eq!(answer.choices[0].finish_reason, "stop");
        assert!(answer.choices[0].turn.parts.is_empty());
    }
}
