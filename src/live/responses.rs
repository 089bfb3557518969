//! The responses of a session: true deltas, one end for each, and nothing after it.
//!
//! DashScope may not report the end of a response that was cancelled, may send audio of it
//! afterwards, and repeats texts as a whole when they are complete.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::live_event::{LivePiece, ResponseStatus, UpstreamDelta, UpstreamResponse};
use crate::chat::message::ToolCall;

use super::config::CANCEL_TIMEOUT;
use super::division::bounded;
use super::event::{LiveEvent, ResponseCompleted};

/// The maximum number of responses whose ids are remembered after their end.
const REMEMBERED: usize = 16;

/// The maximum number of items of one response.
const MAX_ITEMS: usize = 64;

/// The maximum text of an item that is remembered, to complete it by a later snapshot.
const MAX_TEXT: usize = 256 * 1024;

/// The responses of a session.
#[derive(Debug, Default)]
pub(super) struct Responses {
    running: Option<Response>,
    ended: VecDeque<Ended>,
    /// From when the latency of the next response counts: the end of speech, or the request.
    requested: Option<Instant>,
}

/// A response whose end was reported.
#[derive(Debug)]
struct Ended {
    id: Arc<str>,
    /// Whether its usage was counted.
    has_usage: bool,
}

#[derive(Debug)]
struct Response {
    id: Arc<str>,
    items: Vec<Item>,
    requested: Option<Instant>,
    first_audio: Option<Duration>,
    last_event: Instant,
    /// When the end is no longer awaited, once it was cancelled by the caller or by its speech.
    cancelled: Option<Instant>,
    /// Whether DashScope was asked to cancel it.
    is_cancel_sent: bool,
}

/// What was passed on of an item.
#[derive(Debug)]
struct Item {
    id: Arc<str>,
    text: String,
    transcript: String,
    arguments: String,
    has_call: bool,
}

/// What became of a response event.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Events for the caller, in order.
    pub(super) events: Vec<LiveEvent>,
    /// The end of a response that the caller had seen the end of: its usage still counts.
    pub(super) late: Option<Box<UpstreamResponse>>,
}

impl From<Option<LiveEvent>> for Outcome {
    fn from(event: Option<LiveEvent>) -> Self {
        Self {
            events: event.into_iter().collect(),
            late: None,
        }
    }
}

impl Responses {
    /// Whether a response is running.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The latency of the next response counts from now.
    pub(super) fn request(&mut self, now: Instant) {
        self.requested = Some(now);
    }

    /// The response that was requested will not come.
    pub(super) fn unrequest(&mut self) {
        self.requested = None;
    }

    /// A response has started. One that is still running has no other end.
    pub(super) fn created(&mut self, id: &str, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(running) = &self.running {
            if *running.id == *id {
                return outcome;
            }
            outcome.events.extend(self.end(ResponseStatus::Cancelled));
        }
        // Without an id, responses cannot be distinguished.
        if !id.is_empty() && self.has_ended(id) {
            return outcome;
        }
        outcome.events.push(self.start(id, now));
        outcome
    }

    fn start(&mut self, id: &str, now: Instant) -> LiveEvent {
        let id: Arc<str> = id.into();
        self.running = Some(Response {
            id: Arc::clone(&id),
            items: Vec::new(),
            requested: self.requested.take(),
            first_audio: None,
            last_event: now,
            cancelled: None,
            is_cancel_sent: false,
        });
        LiveEvent::ResponseStarted { response_id: id }
    }

    /// A delta of a response.
    pub(super) fn delta(&mut self, delta: UpstreamDelta, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        match &self.running {
            Some(running) if delta.response_id.is_empty() || *running.id == *delta.response_id => {}
            // A late delta of a response whose end was reported.
            _ if self.has_ended(&delta.response_id) => return outcome,
            None if delta.response_id.is_empty() && !self.ended.is_empty() => return outcome,
            Some(_) | None => outcome = self.created(&delta.response_id, now),
        }
        let Some(running) = &mut self.running else {
            return outcome;
        };
        running.last_event = now;
        if running.cancelled.is_some() {
            return outcome;
        }
        let response_id = Arc::clone(&running.id);
        let Some((item_id, piece)) = running.news(delta) else {
            return outcome;
        };
        if let LivePiece::Audio(_) = piece {
            let requested = running.requested;
            running
                .first_audio
                .get_or_insert_with(|| requested.map_or(Duration::ZERO, |at| now - at));
        }
        outcome.events.push(LiveEvent::Delta {
            response_id,
            item_id,
            piece,
        });
        outcome
    }

    /// An item of a response is complete. It is the last that is certain of a cancelled response.
    pub(super) fn item_done(&mut self, response_id: &str, grace: Duration, now: Instant) {
        if let Some(running) = &mut self.running
            && (response_id.is_empty() || *running.id == *response_id)
        {
            running.last_event = now;
            if let Some(until) = &mut running.cancelled {
                *until = (*until).min(now + grace);
            }
        }
    }

    /// A response has ended.
    pub(super) fn done(&mut self, response: Box<UpstreamResponse>, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        match &self.running {
            Some(running) if response.id.is_empty() || *running.id == *response.id => {}
            _ if response.id.is_empty() || self.has_ended(&response.id) => {
                outcome.late = Some(response).filter(|late| self.is_uncounted(late));
                return outcome;
            }
            Some(_) | None => outcome = self.created(&response.id, now),
        }
        let Some(running) = self.forget(response.usage.is_some()) else {
            return outcome;
        };
        let status = match running.cancelled {
            // What it had not sent yet was withheld.
            Some(_) => ResponseStatus::Cancelled,
            None => response.status,
        };
        outcome.events.push(completed(
            running,
            ResponseCompleted {
                status,
                usage: response.usage,
                reason: response.reason,
                extra: bounded(response.extra),
                ..ResponseCompleted::default()
            },
        ));
        outcome
    }

    /// Cancels the response that is running: nothing of it follows but its end. Returns its id, and
    /// whether DashScope is to be asked, which it is once.
    pub(super) fn cancel(&mut self, now: Instant) -> Option<(Arc<str>, bool)> {
        let id = self.interrupt(now)?;
        let running = self.running.as_mut()?;
        let is_sent = std::mem::replace(&mut running.is_cancel_sent, true);
        Some((id, !is_sent))
    }

    /// DashScope cancels the response that is running, because the caller speaks: nothing of it
    /// follows but its end.
    pub(super) fn interrupt(&mut self, now: Instant) -> Option<Arc<str>> {
        let running = self.running.as_mut()?;
        running.cancelled.get_or_insert(now + CANCEL_TIMEOUT);
        Some(Arc::clone(&running.id))
    }

    /// Whether the response that is running was cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.cancelled.is_some())
    }

    /// Ends the response that is running, without a report of DashScope.
    pub(super) fn end(&mut self, status: ResponseStatus) -> Option<LiveEvent> {
        let running = self.forget(false)?;
        let end = ResponseCompleted {
            status,
            ..ResponseCompleted::default()
        };
        Some(completed(running, end))
    }

    /// Ends a cancelled response whose end is no longer awaited.
    pub(super) fn expire(&mut self, now: Instant) -> Option<LiveEvent> {
        let until = self.running.as_ref()?.cancelled?;
        (now >= until).then(|| self.end(ResponseStatus::Cancelled))?
    }

    /// When [`Responses::expire`] is to be called.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.running.as_ref()?.cancelled
    }

    /// When something of the running response came last.
    pub(super) fn last_event(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.last_event)
    }

    /// Whether the end of this response was reported.
    fn has_ended(&self, id: &str) -> bool {
        self.ended.iter().any(|ended| *ended.id == *id)
    }

    /// Whether the usage of a response that has ended is still to be counted, which it is once.
    fn is_uncounted(&mut self, late: &UpstreamResponse) -> bool {
        let mut ended = self.ended.iter_mut();
        match ended.find(|ended| *ended.id == *late.id) {
            Some(ended) if late.usage.is_some() => !std::mem::replace(&mut ended.has_usage, true),
            Some(_) | None => true,
        }
    }

    fn forget(&mut self, has_usage: bool) -> Option<Response> {
        let running = self.running.take()?;
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended {
            id: Arc::clone(&running.id),
            has_usage,
        });
        Some(running)
    }
}

fn completed(response: Response, end: ResponseCompleted) -> LiveEvent {
    LiveEvent::ResponseCompleted(Box::new(ResponseCompleted {
        response_id: response.id,
        first_audio_latency: response.requested.and(response.first_audio),
        ..end
    }))
}

impl Response {
    /// What is new in a delta, and the id of its item; `None` if nothing is.
    fn news(&mut self, delta: UpstreamDelta) -> Option<(Arc<str>, LivePiece)> {
        let is_snapshot = delta.is_snapshot;
        let item = self.item(&delta.item_id)?;
        let piece = match delta.piece {
            LivePiece::Audio(bytes) => LivePiece::Audio(bytes),
            LivePiece::Text(text) => LivePiece::Text(added(&mut item.text, text, is_snapshot)),
            LivePiece::Transcript(text) => {
                LivePiece::Transcript(added(&mut item.transcript, text, is_snapshot))
            }
            LivePiece::ToolCall(call) => {
                let mut call = *call;
                call.arguments = added(&mut item.arguments, call.arguments, is_snapshot);
                let is_first = !std::mem::replace(&mut item.has_call, true);
                if !is_first && call.arguments.is_empty() {
                    return None;
                }
                return Some((
                    Arc::clone(&item.id),
                    LivePiece::ToolCall(Box::new(match is_first {
                        true => call,
                        false => ToolCall {
                            index: call.index,
                            arguments: call.arguments,
                            ..ToolCall::default()
                        },
                    })),
                ));
            }
        };
        (!piece.is_empty()).then(|| (Arc::clone(&item.id), piece))
    }

    /// The item of this id; `None` beyond the limit of items.
    fn item(&mut self, id: &str) -> Option<&mut Item> {
        let index = self.items.iter().position(|item| *item.id == *id);
        let index = match index {
            Some(index) => index,
            None if self.items.len() >= MAX_ITEMS => return None,
            None => {
                self.items.push(Item {
                    id: id.into(),
                    text: String::new(),
                    transcript: String::new(),
                    arguments: String::new(),
                    has_call: false,
                });
                self.items.len() - 1
            }
        };
        self.items.get_mut(index)
    }
}

/// What a text adds to the text so far.
fn added(known: &mut String, text: String, is_snapshot: bool) -> String {
    let new = match is_snapshot {
        false => text,
        // Of a text this long the beginning may be forgotten.
        true if text.len() > MAX_TEXT => return String::new(),
        true => match text.strip_prefix(known.as_str()) {
            Some(rest) => rest.to_owned(),
            // A text that was revised cannot be a delta; its beginning was passed on.
            None => return String::new(),
        },
    };
    if known.len() + new.len() <= MAX_TEXT {
        known.push_str(&new);
    }
    new
}
