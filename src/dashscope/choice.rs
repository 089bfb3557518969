//! Decodes one choice: extracts what is new in each event.

use std::borrow::Cow;
use std::ops::Range;

use super::annotations::{logprobs, owned};
use super::answer_json::{self, Content};
use super::audio::AudioDecoder;
use super::delta_detector::{DeltaDetector, NewText, Reading, TextForm};
use super::errors::unreadable;
use super::json_text::Text;
use super::lenient_end::UndocumentedEnd;
use super::logprobs::Tokens;
use super::repeated_parts::RepeatFilter;
use super::tool_calls::{ToolCallError, ToolCalls};
use crate::chat::document::{Document, Object};
use crate::chat::dropped_parts::Losses;
use crate::chat::event::{Delta, Piece};
use crate::chat::extra::Extra;
use crate::chat::warning::Warning;
use crate::error::Error;

/// The role of every answer.
const ASSISTANT: &str = "assistant";

/// The kind of the latest content part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Other,
}

/// The decoder of one choice.
#[derive(Debug)]
pub(super) struct ChoiceDecoder {
    pub(super) index: i32,
    /// The finish reason, once the choice has ended; empty if DashScope gave none.
    pub(super) finish_reason: Option<String>,
    /// The unknown keys of the choice.
    extra: Extra,
    /// Deltas to be emitted.
    pub(super) deltas: Vec<Delta>,
    /// Unknown keys that could not be kept.
    pub(super) losses: Losses,
    /// Warnings to be emitted.
    pub(super) warnings: Vec<Warning>,
    /// The undocumented end of the latest event, if there was one.
    pub(super) undocumented_end: Option<UndocumentedEnd>,
    text: DeltaDetector,
    reasoning: DeltaDetector,
    pub(super) calls: ToolCalls,
    pub(super) tokens: Tokens,
    pub(super) repeats: RepeatFilter,
    open: Open,
    /// The unknown keys of the latest part.
    open_extra: Extra,
    pub(super) message_extra: Extra,
    pub(super) audio: AudioDecoder,
    /// Whether anything was received.
    has_come: bool,
}

impl ChoiceDecoder {
    /// An empty choice.
    pub(super) fn new(index: i32) -> Self {
        Self {
            index,
            finish_reason: None,
            extra: Extra::default(),
            deltas: Vec::new(),
            losses: Losses::default(),
            warnings: Vec::new(),
            undocumented_end: None,
            text: DeltaDetector::default(),
            reasoning: DeltaDetector::default(),
            calls: ToolCalls::default(),
            tokens: Tokens::default(),
            repeats: RepeatFilter::default(),
            open: Open::Nothing,
            open_extra: Extra::default(),
            message_extra: Extra::default(),
            audio: AudioDecoder::default(),
            has_come: false,
        }
    }

    /// Decodes one event's part of this choice.
    pub(super) fn take(
        &mut self,
        choice: answer_json::Choice<'_>,
        audio: Option<answer_json::Audio<'_>>,
        reading: &mut Reading<'_>,
    ) -> Result<(), Error> {
        self.repeats.next_event();
        self.has_come |= choice.finish_reason.is_some();
        self.undocumented_end = UndocumentedEnd::of(&choice);
        self.add_extra(choice.extra);
        let had_text = self.has_text();
        let mut message = choice.message.unwrap_or_default();
        self.decode_message_extra(&mut message);
        let thought = Text::or_empty(&message.reasoning_content);
        let fresh = reading.grow(&mut self.reasoning, thought)?;
        self.emit(fresh.waited, Piece::Reasoning);
        let new = thought.get(fresh.new).unwrap_or_default().to_owned();
        self.emit(new, Piece::Reasoning);
        let mut received = !thought.is_empty();
        match message.content {
            Some(Content::Text(text)) => {
                received |= !text.0.is_empty();
                let part = answer_json::Part {
                    text: Some(text),
                    ..answer_json::Part::default()
                };
                self.decode_parts(vec![part], reading)?;
            }
            Some(Content::Parts(parts)) => {
                let has_text_in =
                    |part: &answer_json::Part<'_>| !Text::or_empty(&part.text).is_empty();
                received |= parts.iter().any(has_text_in);
                self.decode_parts(parts, reading)?;
            }
            None => {}
        }
        if let Some(audio) = audio {
            self.decode_audio(audio, false);
        }
        for (place, call) in message.tool_calls.into_iter().flatten().enumerate() {
            let function = call.function.as_ref();
            received |= function.is_some_and(|f| !Text::or_empty(&f.arguments).is_empty());
            let at = (self.index, &mut self.losses);
            let taken = self.calls.take(place, call, reading.form, at);
            let new = taken.map_err(|refused| match refused {
                ToolCallError::TooMany => unreadable("there are too many tool calls", reading.sent),
                ToolCallError::Arguments(cause) => reading.text_error(cause),
            })?;
            self.deltas
                .extend(new.map(|call| delta(self.index, Piece::ToolCall(call))));
        }
        self.decode_annotations(message.annotations, reading);
        if let Some(next) = choice.logprobs.map(logprobs) {
            let at = (self.index, &mut self.losses);
            let new = self.tokens.take(next, *reading.form, self.text.len(), at);
            self.emit_tokens(new.map_err(|cause| reading.text_error(cause))?);
        }
        self.has_come |= !self.deltas.is_empty();
        // DashScope sends the string "null" until the choice ends.
        let reason = Text::or_empty(&choice.finish_reason);
        let is_empty = !received && had_text;
        if !matches!(reason, "" | "null") {
            if is_empty {
                self.empty_end(reading)?;
            }
            // The choice has ended only if all of it could be decoded.
            self.finish(reading)?;
            self.finish_reason = Some(reason.to_owned());
        } else if let Some(odd) = &mut self.undocumented_end {
            odd.is_empty = is_empty;
        }
        Ok(())
    }

    /// Ends the choice and emits withheld content.
    pub(super) fn finish(&mut self, reading: &mut Reading<'_>) -> Result<(), Error> {
        let in_doubt = self.text.is_ambiguous() || self.reasoning.is_ambiguous();
        if *reading.form == TextForm::Unknown
            && !in_doubt
            && self.calls.are_ambiguous()
            && let Some(form) = self.calls.form()
        {
            *reading.form = form;
        }
        let form = *reading.form;
        let finished = self.reasoning.finish(form).and_then(|thought| {
            self.emit(thought, Piece::Reasoning);
            let text = self.text.finish(form)?;
            self.emit(text, Piece::Text);
            let rest = self.calls.finish(form)?;
            let index = self.index;
            let rest = rest
                .into_iter()
                .map(|call| delta(index, Piece::ToolCall(call)));
            self.deltas.extend(rest);
            Ok(())
        });
        finished.map_err(|cause| reading.text_error(cause))?;
        if form == TextForm::Revised && !reading.is_given && self.text.was_replaced() {
            let message = "a later text replaced an earlier one; see upstream.revised_models";
            self.warn_of("message", message);
        }
        let tokens = self.tokens.finish(form);
        self.emit_tokens(tokens);
        self.finish_audio();
        let waiting = self.message_extra.waiting();
        self.emit_message_extra(waiting);
        Ok(())
    }

    /// The unknown keys of the choice, at the end.
    pub(super) fn take_keys(&mut self) -> Object {
        let index = self.index;
        let at = format_args!("output.choices[{index}].message");
        self.message_extra.report(at, &mut self.losses);
        self.report_keys();
        self.open_part(Open::Nothing);
        let at = format_args!("output.choices[{index}]");
        self.extra.take(at, &mut self.losses)
    }

    pub(super) fn add_extra(&mut self, extra: Object) {
        let index = self.index;
        let at = format_args!("output.choices[{index}]");
        self.extra.add(extra, at, &mut self.losses);
    }

    pub(super) fn emit_message_extra(&mut self, extra: Object) {
        if !extra.is_empty() {
            let piece = Piece::MessageExtra(extra);
            self.deltas.push(delta(self.index, piece));
        }
    }

    /// Whether it has content or a finish reason.
    pub(super) fn is_answer(&self) -> bool {
        self.has_come
    }

    /// Whether text was received. Not maintained once texts are known to be pieces.
    pub(super) fn has_text(&self) -> bool {
        !self.text.is_empty() || !self.reasoning.is_empty() || self.calls.have_arguments()
    }

    /// Whether a later text differed from an earlier one.
    pub(super) fn has_text_changed(&self) -> bool {
        self.text.has_changed()
    }

    /// Whether a text was proved cumulative by repetition alone.
    pub(super) fn is_surely_cumulative(&self) -> bool {
        self.text.is_surely_cumulative() || self.reasoning.is_surely_cumulative()
    }

    pub(super) fn is_new(&mut self, item: &impl std::hash::Hash, reading: &Reading<'_>) -> bool {
        // A response that is not a stream repeats nothing.
        !reading.streamed || self.repeats.is_new(item)
    }

    fn emit(&mut self, text: String, piece: fn(String) -> Piece) {
        if !text.is_empty() {
            let delta = delta(self.index, piece(text));
            if matches!(delta.piece, Piece::Text(_)) && self.open != Open::Text {
                self.open_part(Open::Text);
            }
            self.deltas.push(delta);
        }
    }

    fn emit_tokens(&mut self, new: Option<crate::chat::event::Logprobs>) {
        let new = new.map(|new| delta(self.index, Piece::Logprobs(new)));
        self.deltas.extend(new);
    }

    fn open_part(&mut self, open: Open) {
        self.open = open;
        if !self.open_extra.is_empty() {
            let index = self.index;
            let at = format_args!("output.choices[{index}].message.content");
            self.open_extra.report(at, &mut self.losses);
            self.open_extra = Extra::default();
        }
    }

    /// Handles unknown keys of the message, and a role other than the assistant's.
    pub(super) fn decode_message_extra(&mut self, message: &mut answer_json::Message<'_>) {
        let mut extra = std::mem::take(&mut message.extra);
        let role = message.role.take().filter(|Text(role)| *role != ASSISTANT);
        if let Some(Text(role)) = role.filter(|Text(role)| !role.is_empty()) {
            let role = Document::String(role.into_owned());
            extra.0.push(("role".to_owned(), role));
        }
        if !extra.is_empty() {
            let index = self.index;
            let at = format_args!("output.choices[{index}].message");
            let new = self.message_extra.show(extra, at, &mut self.losses);
            self.emit_message_extra(new);
        }
    }

    /// Decodes parts in order. `delta_detector.rs` treats the texts of one event as one text; the
    /// new range of each part keeps its position.
    fn decode_parts(
        &mut self,
        parts: Vec<answer_json::Part<'_>>,
        reading: &mut Reading<'_>,
    ) -> Result<(), Error> {
        let mut texts = parts.iter().map(|part| Text::or_empty(&part.text));
        let (first, second) = (texts.next().unwrap_or_default(), texts.next());
        let all = match second {
            // The common case: no texts to join.
            None => Cow::Borrowed(first),
            Some(second) => Cow::Owned([first, second].into_iter().chain(texts).collect()),
        };
        let NewText { waited, new } = reading.grow(&mut self.text, &all)?;
        self.emit(waited, Piece::Text);
        let mut at = 0;
        let (mut texts, mut sounds) = (0_usize, 0_usize);
        for part in parts {
            let has_content = part.text.is_some() || part.image.is_some() || part.audio.is_some();
            let text = owned(part.text);
            let span = at..at + text.len();
            at = span.end;
            if !text.is_empty() {
                let starts = texts > 0 && span.start >= new.start;
                texts += 1;
                self.decode_text(text, &span, &new, starts, &part.extra, reading);
            }
            let image = owned(part.image);
            if !image.is_empty() && self.is_new(&image, reading) {
                self.open_part(Open::Other);
                self.deltas.push(delta(self.index, Piece::Image(image)));
            }
            let is_audio = part.audio.is_some();
            if let Some(audio) = part.audio {
                self.decode_audio(audio, sounds > 0);
                sounds += 1;
            }
            self.decode_extra(part.extra, !has_content || is_audio, reading);
        }
        Ok(())
    }

    /// Decodes the text of a part and emits what is new. It begins a part if an earlier part of
    /// this event had text, or if one of its keys would replace another value.
    fn decode_text(
        &mut self,
        text: String,
        span: &Range<usize>,
        new: &Range<usize>,
        starts: bool,
        extra: &Object,
        reading: &Reading<'_>,
    ) {
        let from = new.start.clamp(span.start, span.end) - span.start;
        let to = new.end.clamp(span.start, span.end) - span.start;
        let text = match text.get(from..to) {
            Some(all) if all.len() == text.len() => text,
            part => part.unwrap_or_default().to_owned(),
        };
        if text.is_empty() {
            return;
        }
        let cumulative = matches!(reading.form, TextForm::Cumulative | TextForm::Revised);
        let starts_part =
            starts || self.open == Open::Text && !cumulative && self.open_extra.differs(extra);
        if starts_part || self.open != Open::Text {
            self.open_part(Open::Text);
        }
        let mut delta = delta(self.index, Piece::Text(text));
        delta.starts_part = starts_part;
        self.deltas.push(delta);
    }

    /// Handles unknown keys of a part, or a part of an unknown kind.
    fn decode_extra(&mut self, extra: Object, alone: bool, reading: &Reading<'_>) {
        if extra.is_empty() || !self.is_new(&extra, reading) {
            return;
        }
        let cumulative = matches!(reading.form, TextForm::Cumulative | TextForm::Revised);
        let starts_part =
            alone || self.open == Open::Nothing || !cumulative && self.open_extra.differs(&extra);
        if starts_part {
            self.open_part(Open::Other);
        }
        let index = self.index;
        let at = format_args!("output.choices[{index}].message.content");
        let mut new = self.open_extra.show(extra, at, &mut self.losses);
        new.merge(self.open_extra.waiting());
        if new.is_empty() {
            return;
        }
        let mut delta = delta(index, Piece::Extra(new));
        delta.starts_part = starts_part;
        self.deltas.push(delta);
    }
}

/// A delta that continues the current part.
pub(super) fn delta(choice: i32, piece: Piece) -> Delta {
    Delta {
        choice,
        starts_part: false,
        piece,
    }
}
