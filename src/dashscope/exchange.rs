//! The stream of one exchange: polls the body of the answer and nothing else, so that dropping it
//! closes the connection to DashScope.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::fault::{truncated, unreadable};
use super::reply::{Opening, Reply};
use super::sse::{Decoder, Limits};
use crate::chat::event::Event;
use crate::chat::usage::Usage;
use crate::chat::warning::Warning;
use crate::error::{Error, Sent};
use crate::http1::{Body, Broken};
use crate::memory::{CALL, CallMemory};

/// How much blank space may stand before an answer.
const MAX_BLANK_BYTES: usize = 64 * 1024;

/// The answer to one call, as its events. See [`Event`] for the order that they keep.
pub struct Exchange {
    body: Body,
    form: Form,
    reply: Reply,
    limits: Limits,
    max_body_bytes: usize,
    /// How long what may still come is waited for.
    linger: Option<(Duration, Pin<Box<Sleep>>)>,
    failed: VecDeque<Error>,
    done: bool,
    memory: Option<CallMemory>,
    /// What is charged there for the buffers of this exchange.
    charged: usize,
}

/// What the body is. Its first byte tells, because content types are not to be trusted: JSON begins
/// with a brace, HTML with an angle, and no line of events with either.
enum Form {
    /// Too little came: spaces, or a part of a byte order mark.
    Unknown(Bytes),
    Whole(Bytes),
    Events(Decoder),
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    /// Reads the body of an answer whose status is one of success.
    pub(super) fn new(body: Body, opening: Opening, limits: Limits, max_body_bytes: usize) -> Self {
        Self {
            body,
            form: Form::Unknown(Bytes::new()),
            reply: Reply::new(opening),
            limits,
            max_body_bytes,
            linger: None,
            failed: VecDeque::new(),
            done: false,
            memory: None,
            charged: 0,
        }
    }

    /// Charges what it reads, as far as that is not events yet, to the memory of its call.
    pub fn charge_to(&mut self, memory: CallMemory) {
        self.memory = Some(memory);
    }

    /// Charges what is read and is not events yet. A whole answer is there twice when it becomes
    /// events. What every call holds is charged already.
    fn charge(&mut self) -> Result<(), Error> {
        let held = match &self.form {
            Form::Unknown(_) => 0,
            Form::Whole(body) => 2 * body.len(),
            Form::Events(decoder) => decoder.buffered(),
        };
        let held = held.saturating_sub(CALL);
        if held == self.charged {
            return Ok(());
        }
        self.charged = held;
        match &self.memory {
            Some(memory) => memory
                .buffer(held)
                .map_err(|error| error.with_sent(Sent::Begun)),
            None => Ok(()),
        }
    }

    /// Adds to what the caller is warned of at the end of the answer.
    pub fn warn(&mut self, more: Vec<Warning>) {
        self.reply.warn(more);
    }

    /// What DashScope has counted so far. Read anew at each call, because hardly anybody asks.
    pub fn usage_so_far(&self) -> Option<Usage> {
        self.reply.usage_so_far()
    }

    fn take_chunk(&mut self, chunk: Bytes) -> Result<(), Error> {
        match &mut self.form {
            Form::Unknown(before) => {
                let chunk = joined(std::mem::take(before), chunk);
                self.form = match first_byte(&chunk) {
                    Some(b'{' | b'[') => Form::Whole(Bytes::new()),
                    Some(b'<') => return Err(unreadable("the body is HTML", self.reply.sent())),
                    Some(_) => Form::Events(Decoder::new(self.limits)),
                    None if chunk.len() > MAX_BLANK_BYTES => {
                        return Err(unreadable("the body is blank", self.reply.sent()));
                    }
                    None => Form::Unknown(chunk.clone()),
                };
                match self.form {
                    Form::Unknown(_) => Ok(()),
                    Form::Whole(_) | Form::Events(_) => self.take_chunk(chunk),
                }
            }
            Form::Whole(body) => {
                if body.len() + chunk.len() > self.max_body_bytes {
                    return Err(unreadable("the body is too large", self.reply.sent()));
                }
                *body = joined(std::mem::take(body), chunk);
                Ok(())
            }
            Form::Events(decoder) => {
                decoder.push(chunk);
                take_frames(decoder, &mut self.reply)
            }
        }
    }

    fn take_end(&mut self) -> Result<(), Error> {
        match &mut self.form {
            Form::Unknown(_) => self.reply.take_whole(b"")?,
            Form::Whole(body) => {
                self.reply.take_whole(body)?;
                // The events hold it now.
                self.form = Form::Whole(Bytes::new());
            }
            Form::Events(decoder) => {
                decoder.end();
                take_frames(decoder, &mut self.reply)?;
            }
        }
        self.reply.finish_body(self.body.has_end())
    }

    /// A body that broke. If the answer was complete by then, nothing is lost.
    fn take_break(&mut self, broken: &Broken) -> Result<(), Error> {
        if self.reply.is_finished() {
            return self.reply.finish();
        }
        if let Form::Events(decoder) = &mut self.form {
            decoder.end();
            take_frames(decoder, &mut self.reply)?;
            if self.reply.is_finished() {
                return self.reply.finish();
            }
        }
        let sent = self.reply.sent();
        Err(match broken {
            Broken::Corrupt => unreadable("the compressed body is corrupt", sent),
            Broken::Malformed(what) => unreadable(what, sent),
            Broken::Cut(_) => truncated("the connection broke", sent),
        })
    }

    fn settle(&mut self, outcome: Result<(), Error>) {
        self.done = true;
        if let Err(error) = outcome {
            self.failed.push_back(error);
        }
    }

    /// Whether the time to wait for the end of the body is over.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(patience) = self.reply.patience() else {
            return false;
        };
        if self
            .linger
            .as_ref()
            .is_none_or(|(known, _)| *known != patience)
        {
            self.linger = Some((patience, Box::pin(sleep(patience))));
        }
        // A body that goes on and on spends the budget of the task, and a timer without budget
        // never fires.
        self.linger.as_mut().is_some_and(|(_, linger)| {
            linger.as_mut().poll(cx).is_ready() || Instant::now() >= linger.deadline()
        })
    }
}

/// Both, one behind the other. Most answers come in one piece, which is not copied then.
fn joined(before: Bytes, chunk: Bytes) -> Bytes {
    if before.is_empty() {
        return chunk;
    }
    let mut both = BytesMut::from(before);
    both.extend_from_slice(&chunk);
    both.freeze()
}

/// The first byte that tells something. None as long as a byte order mark may still come.
fn first_byte(bytes: &[u8]) -> Option<u8> {
    const MARK: &[u8] = b"\xEF\xBB\xBF";
    if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
        return None;
    }
    let text = bytes.strip_prefix(MARK).unwrap_or(bytes);
    text.trim_ascii_start().first().copied()
}

fn take_frames(decoder: &mut Decoder, reply: &mut Reply) -> Result<(), Error> {
    loop {
        match decoder.next() {
            Ok(Some(frame)) => reply.take_frame(&frame)?,
            Ok(None) => return Ok(()),
            Err(_) => return Err(unreadable("the stream broke a limit", reply.sent())),
        }
    }
}

impl Stream for Exchange {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.reply.pop() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(error) = this.failed.pop_front() {
                return Poll::Ready(Some(Err(error)));
            }
            if this.done {
                return Poll::Ready(None);
            }
            let polled = this.body.poll_chunk(cx);
            if matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) && this.is_late(cx) {
                let outcome = this.reply.give_up();
                this.settle(outcome);
                continue;
            }
            match ready!(polled) {
                Some(Ok(chunk)) => {
                    let taken = this.take_chunk(chunk);
                    if let Err(error) = taken.and_then(|()| this.charge()) {
                        // What comes behind a complete answer takes nothing from it.
                        let outcome = match this.reply.is_finished() {
                            true => this.reply.finish(),
                            false => Err(error),
                        };
                        this.settle(outcome);
                    }
                }
                Some(Err(broken)) => {
                    let outcome = this.take_break(&broken);
                    this.settle(outcome);
                }
                None => {
                    let outcome = this.take_end();
                    this.settle(outcome);
                }
            }
        }
    }
}
