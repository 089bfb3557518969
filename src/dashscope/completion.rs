//! The end of an answer: what is still to be said of it, and what was used.

use super::answer_json;
use super::choice::Draft;
use super::delta_detector::{Form, Reading, Trouble};
use super::errors::truncated;
use super::json_tree;
use super::reply::Reply;
use super::usage::{counts, only_grew, usage};
use crate::chat::document::Object;
use crate::chat::dropped_parts::Losses;
use crate::chat::event::{ChoiceEnd, End, Event};
use crate::chat::usage::Usage;
use crate::chat::warning::{Code, Warning};
use crate::error::Error;

/// The most warnings of one answer. More would not be read.
const MAX_WARNINGS: usize = 32;

impl Reply {
    /// The end of a body that HTTP proves to be whole, or does not.
    pub fn finish_body(&mut self, is_whole: bool) -> Result<(), Error> {
        if is_whole {
            self.end_oddly()?;
        }
        if is_whole && self.needs_no_reason {
            self.end_without_reason(true)?;
        }
        self.finish()
    }

    /// Nothing more is waited for: the last events, or the error that the answer is not complete.
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
            usage: counts.map(Box::new),
            extra_output,
            extra,
            warnings: std::mem::take(&mut self.opening.warnings),
        })));
        Ok(())
    }

    /// Nothing more is waited for, though a choice that was asked for never began.
    pub fn give_up(&mut self) -> Result<(), Error> {
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

    /// What the events that counted said was used.
    pub fn usage_so_far(&self) -> Option<Usage> {
        let mut losses = Losses::default();
        let (last, _) = counts(&self.usage)?;
        if self.usage_before.is_empty() {
            return Some(usage(last));
        }
        let mut all = self.usage_before.clone();
        all.add(last, format_args!("usage"), &mut losses);
        Some(usage(all.take(format_args!("usage"), &mut losses)))
    }

    /// Takes the counts of an event. Read only if they are not those of the one before, grown.
    pub(super) fn take_usage(&mut self, json: &str) {
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

    /// Keeps a usage that is no object among the other keys of the body: it counts nothing.
    pub(super) fn keep_odd_usage(&mut self, json: &str) {
        if let Some((document, warnings)) = json_tree::document(json) {
            self.warn_of_usage(warnings);
            let usage = Object(vec![("usage".to_owned(), document)]);
            self.extra.add(usage, format_args!(""), &mut self.losses);
        }
    }

    fn counts(&mut self) -> Option<Usage> {
        let last = self.last_counts()?;
        if self.usage_before.is_empty() {
            return Some(usage(last));
        }
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

    /// Reports what could not be kept.
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

    /// Adds to what the caller is warned of at the end, which may have been read already.
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

    /// Adds a warning, up to a bound.
    pub(super) fn add_warning(&mut self, warning: Warning) {
        let warnings = &mut self.opening.warnings;
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Ends the choices whose last event says that they ended, but not as documented.
    fn end_oddly(&mut self) -> Result<(), Error> {
        for at in 0..self.drafts.len() {
            self.with_draft(at, true, end_oddly)?;
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
                message: Some(answer_json::Message::said(text)),
                ..answer_json::Choice::default()
            };
            self.take_choice(0, choice, None, streamed)?;
        }
        for at in 0..self.drafts.len() {
            self.with_draft(at, streamed, |draft, reading| {
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

impl Draft {
    /// The event with the finish reason has no text though there was some: pieces, by
    /// `growth.rs`.
    pub(super) fn empty_end(&self, reading: &mut Reading<'_>) -> Result<(), Error> {
        match *reading.form {
            Form::Unknown => *reading.form = Form::Pieces,
            Form::Cumulative if !reading.is_given && !self.is_surely_cumulative() => {
                return Err(reading.trouble(Trouble::Changed));
            }
            Form::Pieces | Form::Cumulative | Form::Revised => {}
        }
        Ok(())
    }
}

fn end_oddly(draft: &mut Draft, reading: &mut Reading<'_>) -> Result<(), Error> {
    let Some(odd) = draft
        .odd_end
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
    let field = format!("output.choices[{}].{}", draft.index, odd.key);
    let message = "undocumented finish reason, kept in extra";
    let warning = Warning::new(Code::AnswerPartDropped, field, message);
    draft.warnings.push(warning);
    Ok(())
}
