//! One of the answers in the making: what of each event is new in it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::fault::unreadable;
use super::growth::Growth;
use super::notes::{annotation, logprobs, owned};
use super::text::Text;
use super::wire::{self, Content};
use crate::chat::document::Object;
use crate::chat::event::Piece;
use crate::chat::media::AudioFile;
use crate::chat::turn::{Annotation, ToolCall};
use crate::error::{Error, Sent};

/// How DashScope writes sound: base64, with or without the padding at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The most tool calls of one answer.
const MAX_TOOL_CALLS: usize = 1024;

/// The most notes and pictures that are remembered so that they are not passed on twice.
const MAX_REMEMBERED: usize = 1024;

/// One of the answers.
#[derive(Debug)]
pub(super) struct Draft {
    /// Which one.
    pub(super) index: i32,
    /// Why it ended, once it did.
    pub(super) finish_reason: Option<String>,
    /// What is new, to be taken away.
    pub(super) pieces: Vec<Piece>,
    text: Growth,
    reasoning: Growth,
    calls: Vec<Call>,
    /// Whether it is proved that texts come in pieces.
    in_pieces: bool,
    annotations: Vec<Annotation>,
    images: Vec<String>,
    audio_file: Option<AudioFile>,
}

/// One of its tool calls.
#[derive(Debug)]
struct Call {
    index: i32,
    id: String,
    kind: String,
    name: String,
    arguments: Growth,
}

impl Draft {
    /// An answer with nothing in it.
    pub(super) fn new(index: i32) -> Self {
        Self {
            index,
            finish_reason: None,
            pieces: Vec::new(),
            text: Growth::default(),
            reasoning: Growth::default(),
            calls: Vec::new(),
            in_pieces: false,
            annotations: Vec::new(),
            images: Vec::new(),
            audio_file: None,
        }
    }

    /// Takes what an event says of this answer. `streamed` is false when there is only this one.
    pub(super) fn take(
        &mut self,
        choice: wire::Choice<'_>,
        audio: Option<wire::Audio<'_>>,
        streamed: bool,
        sent: Sent,
    ) -> Result<(), Error> {
        // What comes whole comes in one piece.
        self.in_pieces |= !streamed;
        let message = choice.message.unwrap_or_default();
        let thought = Text::or_empty(&message.reasoning_content);
        let thought = grow(&mut self.reasoning, thought, &mut self.in_pieces, sent)?;
        self.give(thought, Piece::Reasoning);
        match message.content {
            Some(Content::Text(Text(text))) => {
                let text = grow(&mut self.text, &text, &mut self.in_pieces, sent)?;
                self.give(text, Piece::Text);
            }
            Some(Content::Parts(parts)) => self.take_parts(parts, sent)?,
            None => {}
        }
        if let Some(audio) = audio {
            self.take_audio(audio, sent)?;
        }
        for (position, call) in message.tool_calls.into_iter().flatten().enumerate() {
            self.take_call(position, call, sent)?;
        }
        for note in message.annotations.into_iter().flatten() {
            let note = annotation(note);
            if !self.annotations.contains(&note) && self.annotations.len() < MAX_REMEMBERED {
                self.annotations.push(note.clone());
                self.pieces.push(Piece::Annotation(note));
            }
        }
        if let Some(logprobs) = choice.logprobs.map(logprobs)
            && !logprobs.content.is_empty()
        {
            self.pieces.push(Piece::Logprobs(logprobs));
        }
        // DashScope says "null", the word, as long as the answer goes on.
        let reason = Text::or_empty(&choice.finish_reason);
        if !matches!(reason, "" | "null") {
            self.finish_reason = Some(reason.to_owned());
            self.flush();
        }
        Ok(())
    }

    /// Passes on what was held back in doubt.
    fn flush(&mut self) {
        let thought = self.reasoning.finish();
        self.give(thought, Piece::Reasoning);
        let text = self.text.finish();
        self.give(text, Piece::Text);
        let held = |call: &mut Call| {
            let arguments = call.arguments.finish();
            (!arguments.is_empty()).then(|| {
                Piece::ToolCall(ToolCall {
                    index: call.index,
                    arguments,
                    ..ToolCall::default()
                })
            })
        };
        self.pieces.extend(self.calls.iter_mut().filter_map(held));
    }

    fn give(&mut self, text: String, piece: fn(String) -> Piece) {
        if !text.is_empty() {
            self.pieces.push(piece(text));
        }
    }

    /// Parts in their order. The texts of one event are one text to `growth.rs`; when it passes all
    /// of it on, each stays at its place among pictures and sounds.
    fn take_parts(&mut self, parts: Vec<wire::Part<'_>>, sent: Sent) -> Result<(), Error> {
        let mut texts = parts.iter().map(|part| Text::or_empty(&part.text));
        let (first, second) = (texts.next().unwrap_or_default(), texts.next());
        let all = match second {
            // As nearly always: nothing has to be joined, and what is new is new in this part.
            None => Cow::Borrowed(first),
            Some(second) => Cow::Owned([first, second].into_iter().chain(texts).collect()),
        };
        let new = grow(&mut self.text, &all, &mut self.in_pieces, sent)?;
        let mut rest = if second.is_some() && new == *all {
            None
        } else {
            Some(new)
        };
        for part in parts {
            if let Some(Text(text)) = part.text {
                let text = match &mut rest {
                    Some(new) => std::mem::take(new),
                    None => text.into_owned(),
                };
                self.give(text, Piece::Text);
            }
            let image = owned(part.image);
            if !image.is_empty() && !self.images.contains(&image) {
                if self.images.len() < MAX_REMEMBERED {
                    self.images.push(image.clone());
                }
                self.pieces.push(Piece::Image(image));
            }
            if let Some(audio) = part.audio {
                self.take_audio(audio, sent)?;
            }
            if !part.extra.is_empty() {
                self.pieces.push(Piece::Extra(part.extra));
            }
        }
        Ok(())
    }

    fn take_audio(&mut self, audio: wire::Audio<'_>, sent: Sent) -> Result<(), Error> {
        let data = Text::or_empty(&audio.data);
        if !data.is_empty() {
            let sound = BASE64
                .decode(data)
                .map_err(|_| unreadable("a sound is not base64", sent))?;
            self.pieces.push(Piece::Audio(Bytes::from(sound)));
        }
        let file = AudioFile {
            uri: owned(audio.url),
            id: owned(audio.id),
            expires_at: audio.expires_at,
            extra: Object::default(),
        };
        if !file.uri.is_empty() && self.audio_file.as_ref() != Some(&file) {
            self.audio_file = Some(file.clone());
            self.pieces.push(Piece::AudioFile(file));
        }
        Ok(())
    }

    fn take_call(
        &mut self,
        position: usize,
        call: wire::ToolCall<'_>,
        sent: Sent,
    ) -> Result<(), Error> {
        let index = call
            .index
            .unwrap_or(i32::try_from(position).unwrap_or(i32::MAX));
        let at = match self.calls.iter().position(|known| known.index == index) {
            Some(at) => at,
            None if self.calls.len() < MAX_TOOL_CALLS => {
                self.calls.push(Call {
                    index,
                    id: String::new(),
                    kind: String::new(),
                    name: String::new(),
                    arguments: Growth::default(),
                });
                self.calls.len() - 1
            }
            None => return Err(unreadable("there are too many tool calls", sent)),
        };
        let Some(known) = self.calls.get_mut(at) else {
            return Ok(());
        };
        let function = call.function.unwrap_or_default();
        let arguments = Text::or_empty(&function.arguments);
        let piece = ToolCall {
            index,
            id: first_time(&mut known.id, owned(call.id)),
            kind: first_time(&mut known.kind, owned(call.kind)),
            arguments: grow(&mut known.arguments, arguments, &mut self.in_pieces, sent)?,
            name: first_time(&mut known.name, owned(function.name)),
            extra: Object::default(),
        };
        let nothing = ToolCall {
            index,
            ..ToolCall::default()
        };
        if piece != nothing {
            self.pieces.push(Piece::ToolCall(piece));
        }
        Ok(())
    }
}

fn grow(
    growth: &mut Growth,
    text: &str,
    in_pieces: &mut bool,
    sent: Sent,
) -> Result<String, Error> {
    growth
        .push(text, in_pieces)
        .map_err(|_| unreadable("a text does not go on from what was said before", sent))
}

/// A name the first time that it is said, then nothing.
fn first_time(known: &mut String, said: String) -> String {
    if known.is_empty() {
        known.clone_from(&said);
        said
    } else {
        String::new()
    }
}
