//! From DashScope's answer, whole or in events, to [`Event`]s. Does no I/O.
//!
//! - **The end.** An answer is complete when every choice that was seen has a finish reason, and as
//!   many were seen as were asked for, or the body ended. The first finish of a choice wins: what comes
//!   for it later is ignored, an error too. The usage of a later event still counts, because some
//!   models send it last; it is never summed, the last one holds.
//! - **No end.** A body that ends while a choice has no finish reason was cut: `STREAM_TRUNCATED`.
//! - **Repetition.** `growth.rs` tells pieces from repeated wholes for text, thought and arguments. A
//!   note, a picture, a file or the sources that come again unchanged are passed on once.

use std::collections::VecDeque;

use super::choice::Draft;
use super::fault::{Said, error_object, truncated, unreadable};
use super::sse::Frame;
use super::text::Text;
use super::usage::usage;
use super::wire::{Body, Output};
use super::{notes, wire};
use crate::chat::document::Object;
use crate::chat::event::{ChoiceEnd, Delta, End, Event, Piece, SearchInfo, Started};
use crate::error::{Error, Sent};

/// The most answers to one call that are told apart. DashScope gives six at most.
const MAX_CHOICES: usize = 64;

/// What is known of an answer before its body.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The model that was asked.
    pub model: String,
    /// DashScope's name of the call, as the head of the answer has it.
    pub request_id: String,
    /// How many choices were asked for.
    pub choices: usize,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reply {
    opening: Opening,
    events: VecDeque<Event>,
    sent: Sent,
    drafts: Vec<Draft>,
    usage: String,
    search: Option<SearchInfo>,
    extra: Object,
}

impl Reply {
    /// A reader at the start of an answer.
    pub fn new(opening: Opening) -> Self {
        Self {
            opening,
            events: VecDeque::new(),
            sent: Sent::Maybe,
            drafts: Vec::new(),
            usage: String::new(),
            search: None,
            extra: Object::default(),
        }
    }

    /// The next event that was read.
    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How far the call had come, for a fault that happens now.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Whether all answers that were asked for are complete.
    pub fn is_finished(&self) -> bool {
        self.all_ended() && self.drafts.len() >= self.opening.choices.max(1)
    }

    /// Takes the next event of a stream.
    pub fn take_frame(&mut self, frame: &Frame) -> Result<(), Error> {
        let text = String::from_utf8_lossy(&frame.data);
        let text = text.trim();
        if text.is_empty() || text == "[DONE]" {
            return Ok(());
        }
        let finished = self.is_finished();
        let body: Body<'_> = match serde_json::from_str(text) {
            Ok(body) => body,
            Err(_) if finished => return Ok(()),
            Err(_) if !frame.whole => return Err(truncated("an event was cut", self.sent)),
            Err(_) => {
                return Err(unreadable(
                    "an event is not the JSON it should be",
                    self.sent,
                ));
            }
        };
        let is_error = frame.event.as_ref() == b"error";
        if let Some(error) = self.fault(&body, frame.http_status.unwrap_or_default(), is_error) {
            return if finished { Ok(()) } else { Err(error) };
        }
        self.take_body(body, true)
    }

    /// Takes the one body of an answer that is not a stream.
    pub fn take_whole(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim();
        if text.is_empty() {
            return Err(truncated("the body is empty", self.sent));
        }
        let body: Body<'_> = serde_json::from_str(text)
            .map_err(|_| unreadable("the body is not the JSON it should be", self.sent))?;
        if let Some(error) = self.fault(&body, 0, false) {
            return Err(error);
        }
        self.take_body(body, false)?;
        if self.drafts.is_empty() {
            return Err(unreadable("the body has no answer", self.sent));
        }
        Ok(())
    }

    /// The end of the body: the last events, or the fault that the answer is not complete.
    pub fn finish(&mut self) -> Result<(), Error> {
        if !self.all_ended() {
            return Err(truncated("there was no finish reason", self.sent));
        }
        self.drafts.sort_by_key(|draft| draft.index);
        let choices = self
            .drafts
            .iter()
            .filter_map(|draft| {
                Some(ChoiceEnd {
                    index: draft.index,
                    finish_reason: draft.finish_reason.clone()?,
                })
            })
            .collect();
        self.events.push_back(Event::End(Box::new(End {
            choices,
            usage: usage(&self.usage),
            extra_output: std::mem::take(&mut self.extra),
        })));
        Ok(())
    }

    fn all_ended(&self) -> bool {
        !self.drafts.is_empty() && self.drafts.iter().all(|d| d.finish_reason.is_some())
    }

    /// The fault in a body. One without an answer is a fault by its code alone.
    fn fault(&self, body: &Body<'_>, http_status: u16, is_error: bool) -> Option<Error> {
        if body.output.as_ref().is_some_and(Output::says_something) && !is_error {
            return None;
        }
        let object = error_object(body);
        let mut said = match Said::in_body(body, &object) {
            Some(said) => said,
            None if is_error => Said::default(),
            None => return None,
        };
        said.http_status = http_status;
        if said.request_id.is_empty() {
            said.request_id = &self.opening.request_id;
        }
        Some(said.error(match self.sent {
            Sent::Begun => Sent::Begun,
            Sent::No | Sent::Refused | Sent::Maybe => Sent::Refused,
        }))
    }

    fn take_body(&mut self, body: Body<'_>, streamed: bool) -> Result<(), Error> {
        if let Some(usage) = body.usage.filter(|usage| usage.get() != "null") {
            self.usage.clear();
            self.usage.push_str(usage.get());
        }
        let Some(output) = body.output else {
            return Ok(());
        };
        if self.sent != Sent::Begun {
            self.sent = Sent::Begun;
            let request_id = match Text::or_empty(&body.request_id) {
                "" => std::mem::take(&mut self.opening.request_id),
                id => id.to_owned(),
            };
            self.events.push_back(Event::Started(Started {
                model: self.opening.model.clone(),
                upstream_request_id: request_id,
            }));
        }
        self.take_output(output, streamed)
    }

    fn take_output(&mut self, output: Output<'_>, streamed: bool) -> Result<(), Error> {
        self.extra.merge(output.extra);
        if let Some(info) = output.search_info {
            let info = notes::search_info(info);
            if self.search.as_ref() != Some(&info) {
                self.search = Some(info.clone());
                let piece = Piece::Search(info);
                self.events
                    .push_back(Event::Delta(Delta { choice: 0, piece }));
            }
        }
        let mut choices = output.choices.unwrap_or_default();
        let alone = choices.is_empty();
        if alone
            && (output.text.is_some() || output.audio.is_some() || output.finish_reason.is_some())
        {
            choices.push(wire::Choice {
                finish_reason: output.finish_reason,
                message: Some(wire::Message {
                    content: output.text.map(wire::Content::Text),
                    ..wire::Message::default()
                }),
                ..wire::Choice::default()
            });
        }
        let mut audio = output.audio;
        for (position, choice) in choices.into_iter().enumerate() {
            let index = choice
                .index
                .unwrap_or(i32::try_from(position).unwrap_or(i32::MAX));
            let at = self.draft_at(index)?;
            let Some(draft) = self.drafts.get_mut(at) else {
                continue;
            };
            if draft.finish_reason.is_some() {
                continue;
            }
            let taken = draft.take(choice, audio.take(), streamed, self.sent);
            let pieces = draft.pieces.drain(..);
            self.events.extend(pieces.map(|piece| {
                Event::Delta(Delta {
                    choice: index,
                    piece,
                })
            }));
            taken?;
        }
        Ok(())
    }

    fn draft_at(&mut self, index: i32) -> Result<usize, Error> {
        if let Some(at) = self.drafts.iter().position(|draft| draft.index == index) {
            return Ok(at);
        }
        if index < 0 || self.drafts.len() >= MAX_CHOICES {
            return Err(unreadable("a choice has an impossible index", self.sent));
        }
        self.drafts.push(Draft::new(index));
        Ok(self.drafts.len() - 1)
    }
}
