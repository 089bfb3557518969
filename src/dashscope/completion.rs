//! The end of an answer: finish reasons, usage and warnings.

use std::sync::Arc;

use super::annotations::{annotation, owned};
use super::answer_json;
use super::body_reader::BodyReader;
use super::choice::{ChoiceDecoder, delta};
use super::delta_detector::{Reading, TextForm, TextFormError};
use super::errors::truncated;
use super::json_tree;
use super::reply::Reply;
use super::usage::{counts, only_grew, read, usage};
use crate::chat::document::Object;
use crate::chat::dropped_parts::Losses;
use crate::chat::event::{ChoiceEnd, End, Event, Piece};
use crate::chat::usage::Usage;
use crate::chat::warning::{Code, Warning};
use crate::error::Error;

/// The maximum number of warnings in one answer.
const MAX_WARNINGS: usize = 32;

impl Reply {
    /// Handles the end of the body; `is_whole` is whether HTTP framing proves it complete.
    pub fn finish_body(&mut self, is_whole: bool) -> Result<(), Error> {
        if is_whole {
            self.release_ends()?;
        }
        if is_whole && !self.sentences.is_empty() {
            self.end_without_reason(true)?;
        }
        if is_whole {
            self.end_undocumented()?;
        }
        if is_whole && self.needs_no_reason {
            self.end_without_reason(true)?;
        }
        self.finish()
    }

    /// Reads an answer in another form than DashScope's.
    pub(crate) fn with_reader(mut self, reader: Box<dyn BodyReader>) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Whether ends of choices are held back.
    pub(super) fn holds_ends(&self) -> bool {
        self.reader
            .as_ref()
            .is_some_and(|reader| reader.holds_ends())
    }

    /// Ends the choices whose end was held back because more could have followed.
    pub(super) fn release_ends(&mut self) -> Result<(), Error> {
        let released = self.reader.as_mut().and_then(|reader| reader.release());
        match released {
            Some(body) => self.decode_body(body, true),
            None => Ok(()),
        }
    }

    /// Ends the answer: emits the last events, or returns the error that the answer is incomplete.
    pub fn finish(&mut self) -> Result<(), Error> {
        if !self.all_ended() {
            let noticed = self.noticed.take();
            return Err(
                noticed.unwrap_or_else(|| truncated("there was no finish reason", self.sent))
            );
        }
        self.drafts.sort_by_key(|draft| draft.index);
        let choices = self.drafts.iter_mut().map(|draft| ChoiceEnd {
            index: draft.index,
            finish_reason: draft.finish_reason.take().unwrap_or_default(),
            extra: draft.take_keys(),
        });
        let choices = choices.collect();
        let counts = self.counts();
        let extra_output = self
            .extra_output
            .take(format_args!("output"), &mut self.losses);
        let extra = self.extra.take(format_args!(""), &mut self.losses);
        self.warn_of_losses();
        self.events.push_back(Event::End(Box::new(End {
            choices,
            usage: counts.map(Arc::new),
            extra_output,
            extra,
            warnings: std::mem::take(&mut self.opening.warnings),
            history: None,
        })));
        Ok(())
    }

    /// Ends the answer although a requested choice never began.
    pub fn give_up(&mut self) -> Result<(), Error> {
        self.release_ends()?;
        let (asked, came) = (self.opening.choices, self.drafts.len());
        if came < asked {
            let message = format!("{asked} choices were requested, DashScope sent {came}");
            self.add_warning(Warning::new(
                Code::AnswerPartDropped,
                "output.choices",
                message,
            ));
        }
        self.finish()
    }

    /// The usage reported by the events so far.
    pub fn usage_so_far(&self) -> Option<Usage> {
        if self.usage_before.is_empty() {
            return read(&self.usage).map(|(usage, _)| usage);
        }
        let mut losses = Losses::default();
        let (last, _) = counts(&self.usage)?;
        let mut all = self.usage_before.clone();
        all.add(last, format_args!("usage"), &mut losses);
        Some(usage(all.take(format_args!("usage"), &mut losses)))
    }

    /// Records the usage of a body. Whether it has one.
    pub(super) fn record_usage_of(&mut self, body: &answer_json::Body<'_>) -> bool {
        match body.usage {
            None | Some(answer_json::Raw("null")) => false,
            Some(answer_json::Raw(counts)) => {
                match counts.starts_with('{') {
                    true => self.record_usage(counts),
                    false => self.keep_odd_usage(counts),
                }
                true
            }
        }
    }

    /// Records the usage of an event. It is parsed only if more than its numbers changed.
    pub(super) fn record_usage(&mut self, json: &str) {
        if !self.usage.is_empty()
            && !only_grew(&self.usage, json)
            && let Some(before) = self.last_counts()
        {
            self.usage_before
                .add(before, format_args!("usage"), &mut self.losses);
        }
        self.usage.clear();
        self.usage.push_str(json);
    }

    /// Keeps a usage that is not an object in the unknown keys of the body; it is not counted.
    pub(super) fn keep_odd_usage(&mut self, json: &str) {
        if let Some((document, warnings)) = json_tree::document(json) {
            self.warn_of_usage(warnings);
            let usage = Object(vec![("usage".to_owned(), document)]);
            self.extra.add(usage, format_args!(""), &mut self.losses);
        }
    }

    fn counts(&mut self) -> Option<Usage> {
        if self.usage_before.is_empty() {
            let (usage, warnings) = read(&self.usage)?;
            self.warn_of_usage(warnings);
            return Some(usage);
        }
        let last = self.last_counts()?;
        self.usage_before
            .add(last, format_args!("usage"), &mut self.losses);
        Some(usage(
            self.usage_before
                .take(format_args!("usage"), &mut self.losses),
        ))
    }

    fn last_counts(&mut self) -> Option<Object> {
        let (counts, warnings) = counts(&self.usage)?;
        self.warn_of_usage(warnings);
        Some(counts)
    }

    /// Adds warnings about unknown keys that could not be kept.
    fn warn_of_losses(&mut self) {
        let mut losses = self.losses.take();
        for draft in &mut self.drafts {
            losses.extend(draft.losses.take());
        }
        losses
            .into_iter()
            .for_each(|warning| self.add_warning(warning));
    }

    fn warn_of_usage(&mut self, warnings: Vec<Warning>) {
        for mut warning in warnings {
            warning.field = match &*warning.field {
                "" => "usage".to_owned(),
                path => format!("usage.{path}"),
            };
            self.add_warning(warning);
        }
    }

    /// Adds to the warnings at the end, even if `Completed` was queued already.
    pub fn warn(&mut self, more: Vec<Warning>) {
        let end = self.events.iter_mut().find_map(|event| match event {
            Event::End(end) => Some(end),
            Event::Started(_) | Event::Delta(_) => None,
        });
        match end {
            Some(end) => end.warnings.extend(more),
            None => self.opening.warnings.extend(more),
        }
    }

    /// Adds a warning, up to [`MAX_WARNINGS`].
    pub(super) fn add_warning(&mut self, warning: Warning) {
        let warnings = &mut self.opening.warnings;
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Ends the choices whose latest event has an undocumented end.
    fn end_undocumented(&mut self) -> Result<(), Error> {
        for at in 0..self.drafts.len() {
            self.with_choice(at, true, end_undocumented)?;
        }
        Ok(())
    }

    /// Ends the choices that have no finish reason and need none.
    pub(super) fn end_without_reason(&mut self, streamed: bool) -> Result<(), Error> {
        if let Some(text) = self.sentences.text() {
            let sentences = self.sentences.take_key();
            self.extra_output
                .add(sentences, format_args!("output"), &mut self.losses);
            let choice = answer_json::Choice {
                message: Some(answer_json::Message::from_text(text)),
                ..answer_json::Choice::default()
            };
            self.decode_choice(0, choice, None, streamed)?;
        }
        for at in 0..self.drafts.len() {
            self.with_choice(at, streamed, |draft, reading| {
                if draft.finish_reason.is_none() {
                    draft.finish(reading)?;
                    draft.finish_reason = Some(String::new());
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl ChoiceDecoder {
    /// Handles an event with a finish reason and without text although text was received: by
    /// `delta_detector.rs`, the texts are pieces.
    pub(super) fn empty_end(&self, reading: &mut Reading<'_>) -> Result<(), Error> {
        match *reading.form {
            TextForm::Unknown => *reading.form = TextForm::Pieces,
            TextForm::Cumulative if !reading.is_given && !self.is_surely_cumulative() => {
                return Err(reading.text_error(TextFormError::Changed));
            }
            // Nothing but the layout suggested revised texts.
            TextForm::Revised if !reading.is_given && self.has_text_changed() => {
                return Err(reading.text_error(TextFormError::Undecided));
            }
            TextForm::Pieces | TextForm::Cumulative | TextForm::Revised => {}
        }
        Ok(())
    }

    /// Handles an event after the finish reason: what is not content is kept, the rest is reported.
    pub(super) fn decode_late(
        &mut self,
        choice: answer_json::Choice<'_>,
        audio: Option<answer_json::Audio<'_>>,
        reading: &Reading<'_>,
    ) {
        self.repeats.next_event();
        let mut message = choice.message.unwrap_or_default();
        let has_audio = audio.is_some_and(|audio| {
            audio.data.is_some() || audio.url.is_some() || !audio.extra.is_empty()
        });
        if message.has_content() || choice.logprobs.is_some() || has_audio {
            self.warn_of("message", "content after the finish reason was ignored");
        }
        self.add_late_reason(owned(choice.finish_reason));
        self.add_extra(choice.extra);
        self.decode_message_extra(&mut message);
        let waiting = self.message_extra.waiting();
        self.emit_message_extra(waiting);
        self.decode_annotations(message.annotations, reading);
    }

    /// Handles another finish reason. The first one applies, unless it was not documented.
    fn add_late_reason(&mut self, reason: String) {
        match &mut self.finish_reason {
            _ if matches!(&*reason, "" | "null") => {}
            Some(first) if first.is_empty() => *first = reason,
            Some(first) if *first != reason => {
                self.warn_of("finish_reason", "another finish reason was ignored");
            }
            Some(_) | None => {}
        }
    }

    /// Decodes the annotations of an event.
    pub(super) fn decode_annotations(
        &mut self,
        annotations: Option<Vec<answer_json::Annotation<'_>>>,
        reading: &Reading<'_>,
    ) {
        for note in annotations.into_iter().flatten() {
            let note = annotation(note);
            if self.is_new(&note, reading) {
                self.deltas.push(delta(self.index, Piece::Annotation(note)));
            }
        }
    }

    /// Adds a warning about a key of the choice.
    pub(super) fn warn_of(&mut self, key: &str, message: &'static str) {
        let field = format!("output.choices[{}].{key}", self.index);
        let warning = Warning::new(Code::AnswerPartDropped, field, message);
        self.warnings.push(warning);
    }
}

fn end_undocumented(draft: &mut ChoiceDecoder, reading: &mut Reading<'_>) -> Result<(), Error> {
    let Some(odd) = draft
        .undocumented_end
        .take()
        .filter(|_| draft.finish_reason.is_none())
    else {
        return Ok(());
    };
    if odd.is_empty {
        draft.empty_end(reading)?;
    }
    draft.finish(reading)?;
    draft.finish_reason = Some(String::new());
    draft.warn_of(&odd.key, "undocumented finish reason, kept in extra");
    Ok(())
}
