//! The stream of one exchange. It polls only the body of the response, so that dropping it closes
//! the connection to DashScope.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::body_reader::name_server;
use super::elements;
use super::errors::{truncated, unreadable};
use super::reply::Reply;
use super::sse::{Decoder, Frame, Limits};
use crate::chat::event::Event;
use crate::chat::usage::Usage;
use crate::chat::warning::{Code, Warning};
use crate::error::{DASHSCOPE, Error, Sent};
use crate::http1::{Body, BodyError};
use crate::memory::{CALL, CallMemory};
use crate::turns::give_way;

/// The maximum white space before a response.
const MAX_BLANK_BYTES: usize = 64 * 1024;

/// The maximum number of consecutive events that emit nothing. Speech recognition revises its text
/// ten times a second while audio is sent, which allows hours; nothing else comes near.
const MAX_SILENT_EVENTS: u32 = 100_000;

/// How many bytes of a body are read before yielding to other tasks: the size of one socket read.
/// Its events take about a millisecond, and DashScope is rarely that far ahead.
const BURST_BYTES: usize = 64 * 1024;

/// The response to one call, as a stream of events. See [`Event`] for their order.
pub struct Exchange {
    body: Body,
    form: BodyFormat,
    reply: Reply,
    limits: Limits,
    max_body_bytes: usize,
    /// How long to wait for optional data.
    linger: Option<(Duration, Pin<Box<Sleep>>)>,
    failed: VecDeque<Error>,
    done: bool,
    /// Whether the buffered bytes may hold more events.
    has_frames: bool,
    /// The number of consecutive events that emitted nothing.
    silent: u32,
    /// The bytes read since the last yield.
    burst: usize,
    memory: Option<CallMemory>,
    /// The bytes charged for the buffers of this exchange.
    charged: usize,
    /// The bytes charged for the elements decoded last.
    decoded: usize,
    /// The name of the server in errors, if it does not have DashScope's own form.
    server: Option<&'static str>,
}

/// The format of the body. It is detected by the first byte, because content types are unreliable:
/// JSON begins with a brace, HTML with an angle bracket, and no line of events with either.
enum BodyFormat {
    /// Too few bytes so far: white space, or part of a byte order mark.
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
    /// Reads the body of a response with a success status.
    pub(crate) fn new(body: Body, reply: Reply, limits: Limits, max_body_bytes: usize) -> Self {
        Self {
            body,
            form: BodyFormat::Unknown(Bytes::new()),
            reply,
            limits,
            max_body_bytes,
            linger: None,
            failed: VecDeque::new(),
            done: false,
            has_frames: false,
            silent: 0,
            burst: 0,
            memory: None,
            charged: 0,
            decoded: 0,
            server: None,
        }
    }

    /// Names the server in errors and warnings.
    pub(crate) fn of_server(mut self, server: &'static str) -> Self {
        self.server = Some(server);
        self
    }

    /// Charges buffered bytes that are not events yet to the memory of its call.
    pub fn charge_to(&mut self, memory: CallMemory) {
        self.memory = Some(memory);
    }

    /// Charges buffered bytes that are not events yet. A response that is not a stream is held
    /// twice while it is decoded. The base charge of a call covers the rest.
    fn charge(&mut self) -> Result<(), Error> {
        let held = match &self.form {
            BodyFormat::Unknown(_) => 0,
            BodyFormat::Whole(body) => 2 * body.len(),
            BodyFormat::Events(decoder) => decoder.buffered(),
        };
        let held = held.saturating_add(self.decoded).saturating_sub(CALL);
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

    /// Charges the elements of this JSON, from before it is decoded until the next is.
    fn weigh(&mut self, json: &[u8]) -> Result<(), Error> {
        let weight = elements::weight(json);
        if weight == 0 && self.decoded == 0 {
            return Ok(());
        }
        if let Some(memory) = &self.memory {
            elements::check(weight, memory, self.reply.sent())?;
        }
        self.decoded = weight;
        self.charge()
    }

    /// Adds to the warnings at the end of the answer.
    pub fn warn(&mut self, more: Vec<Warning>) {
        self.reply.warn(more);
    }

    /// The usage reported so far. Parsed at each call, because it is rarely needed.
    pub fn usage_so_far(&self) -> Option<Usage> {
        self.reply.usage_so_far()
    }

    /// Handles the next bytes. Returns whether more may follow.
    fn handle_chunk(&mut self, chunk: Bytes) -> Result<bool, Error> {
        match &mut self.form {
            BodyFormat::Unknown(before) => {
                let chunk = joined(std::mem::take(before), chunk);
                self.form = match first_byte(&chunk) {
                    Some(b'{' | b'[') => BodyFormat::Whole(Bytes::new()),
                    Some(b'<') => return Err(unreadable("the body is HTML", self.reply.sent())),
                    Some(_) => BodyFormat::Events(Decoder::new(self.limits)),
                    None if chunk.len() > MAX_BLANK_BYTES => {
                        return Err(unreadable("the body is blank", self.reply.sent()));
                    }
                    None => BodyFormat::Unknown(chunk.clone()),
                };
                match self.form {
                    BodyFormat::Unknown(_) => Ok(true),
                    BodyFormat::Whole(_) | BodyFormat::Events(_) => self.handle_chunk(chunk),
                }
            }
            BodyFormat::Whole(body) => {
                if body.len() + chunk.len() > self.max_body_bytes {
                    return Err(unreadable("the body is too large", self.reply.sent()));
                }
                *body = joined(std::mem::take(body), chunk);
                Ok(true)
            }
            BodyFormat::Events(decoder) => {
                decoder.push(chunk);
                self.decode_frames()
            }
        }
    }

    fn take_end(&mut self) -> Result<(), Error> {
        match &mut self.form {
            BodyFormat::Unknown(_) => self.reply.push_whole(b"")?,
            BodyFormat::Whole(body) => {
                let body = body.clone();
                self.weigh(&body)?;
                self.reply.push_whole(&body)?;
                // The events hold it now.
                self.form = BodyFormat::Whole(Bytes::new());
            }
            BodyFormat::Events(_) => self.decode_last_frames()?,
        }
        self.reply.finish_body(self.body.has_end())
    }

    /// Handles a broken body. A complete answer is unaffected.
    fn handle_broken_body(&mut self, broken: &BodyError) -> Result<(), Error> {
        if self.reply.is_finished() {
            return self.reply.finish();
        }
        if matches!(self.form, BodyFormat::Events(_)) {
            self.decode_last_frames()?;
            if self.reply.is_finished() {
                return self.reply.finish();
            }
        }
        let sent = self.reply.sent();
        Err(match broken {
            BodyError::Corrupt => unreadable("the compressed body is corrupt", sent),
            BodyError::Malformed(what) => unreadable(what, sent),
            BodyError::Cut(_) => truncated("the connection broke", sent),
        })
    }

    /// Decodes events until one emits something, so that the expansion of a few bytes is held for
    /// one event at a time. Returns whether more may follow: nothing can be read after an exceeded
    /// limit, and a complete answer needs nothing more.
    fn decode_frames(&mut self) -> Result<bool, Error> {
        self.has_frames = false;
        while let BodyFormat::Events(decoder) = &mut self.form {
            let read = decoder.next().map_err(|_| "the stream exceeded a limit");
            let read = read.map_err(|what| self.unreadable(what));
            let frame = match read.and_then(|frame| self.weighed(frame)) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) if self.reply.is_finished() => {
                    let message = "data after the end of the answer exceeded a limit";
                    let warning = Warning::new(Code::AnswerPartDropped, "", message);
                    self.reply.warn(vec![warning]);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            self.reply.push_frame(&frame)?;
            if self.reply.has_events() {
                self.silent = 0;
                self.has_frames = true;
                if self.reply.holds_ends() {
                    // Content of another modality, which may have more: the wait begins again.
                    self.linger = None;
                }
                break;
            }
            self.silent += 1;
            if self.silent > MAX_SILENT_EVENTS {
                return match self.reply.is_finished() {
                    true => Ok(false),
                    false => Err(self.unreadable("too many consecutive events without content")),
                };
            }
        }
        Ok(true)
    }

    fn weighed(&mut self, frame: Option<Frame>) -> Result<Option<Frame>, Error> {
        if let Some(frame) = &frame {
            self.weigh(&frame.data)?;
        }
        Ok(frame)
    }

    /// Decodes the events that the end of the body completes: two at most.
    fn decode_last_frames(&mut self) -> Result<(), Error> {
        if let BodyFormat::Events(decoder) = &mut self.form {
            decoder.end();
        }
        while self.decode_frames()? && self.has_frames {}
        Ok(())
    }

    fn unreadable(&self, what: &'static str) -> Error {
        unreadable(what, self.reply.sent())
    }

    /// Continues or ends after the bytes were handled.
    fn go_on(&mut self, taken: Result<bool, Error>) {
        let outcome = match taken {
            Ok(true) => match self.charge() {
                Ok(()) => return,
                // Data after a complete answer does not invalidate it.
                Err(_) if self.reply.is_finished() => self.reply.finish(),
                Err(error) => Err(error),
            },
            Ok(false) => self.reply.finish(),
            // An event that cannot be decoded is part of the answer, whatever came before.
            Err(error) => Err(error),
        };
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<(), Error>) {
        self.done = true;
        if let Err(error) = outcome {
            self.failed.push_back(error);
        }
    }

    /// Whether the time to wait for the end of the body is over.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(wait_limit) = self.reply.wait_limit() else {
            return false;
        };
        let known = self.linger.as_ref().map(|(known, _)| *known);
        if known != Some(wait_limit) {
            self.linger = Some((wait_limit, Box::pin(sleep(wait_limit))));
        }
        // A body with endless data consumes the task's budget, and a timer without budget never
        // fires.
        self.linger.as_mut().is_some_and(|(_, linger)| {
            linger.as_mut().poll(cx).is_ready() || Instant::now() >= linger.deadline()
        })
    }
}

/// Both, concatenated. Most responses come in one chunk, which is then not copied.
fn joined(before: Bytes, chunk: Bytes) -> Bytes {
    if before.is_empty() {
        return chunk;
    }
    let mut both = BytesMut::from(before);
    both.extend_from_slice(&chunk);
    both.freeze()
}

/// The first significant byte. `None` while a byte order mark may be incomplete.
fn first_byte(bytes: &[u8]) -> Option<u8> {
    const MARK: &[u8] = b"\xEF\xBB\xBF";
    if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
        return None;
    }
    let text = bytes.strip_prefix(MARK).unwrap_or(bytes);
    text.trim_ascii_start().first().copied()
}

impl Stream for Exchange {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(server) = this.server {
                // In place: an event is not moved once more for it.
                name_server(this.reply.events.front_mut(), server);
            }
            if let Some(event) = this.reply.pop() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(error) = this.failed.pop_front() {
                let server = this.server.unwrap_or(DASHSCOPE);
                return Poll::Ready(Some(Err(error.of_server(server))));
            }
            if this.done {
                return Poll::Ready(None);
            }
            if this.has_frames {
                let taken = this.decode_frames();
                this.go_on(taken);
                continue;
            }
            if this.burst >= BURST_BYTES {
                this.burst = 0;
                return give_way(cx);
            }
            let polled = this.body.poll_chunk(cx);
            if matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(_)))) && this.is_late(cx) {
                let outcome = this.reply.give_up();
                this.settle(outcome);
                continue;
            }
            if polled.is_pending() {
                this.burst = 0;
            }
            match ready!(polled) {
                Some(Ok(chunk)) => {
                    this.burst = this.burst.saturating_add(chunk.len());
                    let taken = this.handle_chunk(chunk);
                    this.go_on(taken);
                }
                Some(Err(broken)) => {
                    let outcome = this.handle_broken_body(&broken);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::answer::{Answer, AnswerBuilder};
    use crate::chat::message::Body as PartBody;
    use crate::dashscope::reply::Opening;
    use serde_json::{Value, json};

    /// Decodes a stream of these messages, each with its finish reason, to its end.
    fn read(messages: &[(Value, &str)]) -> Result<Answer, Error> {
        let limits = Limits {
            line_bytes: 65536,
            event_bytes: 65536,
        };
        let mut exchange =
            Exchange::new(Body::empty(), Reply::new(Opening::default()), limits, 65536);
        for (message, finish) in messages {
            let choice = json!({ "message": message, "finish_reason": finish });
            let body = json!({ "output": { "choices": [choice] }, "usage": {} });
            let chunk = Bytes::from(format!("event:result\ndata:{body}\n\n"));
            let taken = exchange.handle_chunk(chunk);
            exchange.go_on(taken);
            while exchange.has_frames && !exchange.done {
                let taken = exchange.decode_frames();
                exchange.go_on(taken);
            }
        }
        let (mut fold, mut answer) = (AnswerBuilder::default(), None);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(event)) = Pin::new(&mut exchange).poll_next(&mut cx) {
            assert!(answer.is_none(), "nothing comes after the end");
            answer = fold.push(event?);
        }
        Ok(answer.expect("an end or an error"))
    }

    /// One of the texts of an answer.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        Text,
        Reasoning,
        Arguments,
    }

    impl Kind {
        fn message(self, text: &str) -> Value {
            match self {
                Self::Text => json!({ "content": [{ "text": text }] }),
                Self::Reasoning => json!({ "content": [], "reasoning_content": text }),
                Self::Arguments => json!({ "content": [], "tool_calls": [{ "index": 0, "id": "c",
                    "function": { "name": "f", "arguments": text } }] }),
            }
        }

        fn of(self, answer: &Answer) -> String {
            let turn = &answer.choices[0].turn;
            match self {
                Self::Text => {
                    let texts = turn.parts.iter().map(|part| match &part.body {
                        PartBody::Text(text) => text.as_str(),
                        PartBody::Audio(_)
                        | PartBody::Image(_)
                        | PartBody::Video(_)
                        | PartBody::Other => "",
                    });
                    texts.collect()
                }
                Self::Reasoning => turn.reasoning.clone(),
                Self::Arguments => turn.tool_calls[0].arguments.clone(),
            }
        }

        /// Decodes texts, the last one in the event with the finish reason, or before it.
        fn read(self, texts: &[&str], empty_end: bool) -> Result<String, Error> {
            let mut messages: Vec<_> = texts.iter().map(|t| (self.message(t), "null")).collect();
            match messages.last_mut() {
                Some(last) if !empty_end => last.1 = "stop",
                _ => messages.push((json!({ "content": [] }), "stop")),
            }
            read(&messages).map(|answer| self.of(&answer))
        }
    }

    /// All partitions of a text.
    fn cuts(text: &str) -> Vec<Vec<&str>> {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
        let cut = |mask: usize| {
            let (mut from, mut pieces) = (0, Vec::new());
            for (_, &end) in ends.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1) {
                pieces.push(&text[from..end]);
                from = end;
            }
            pieces.push(&text[from..]);
            pieces
        };
        (0..1 << ends.len()).map(cut).collect()
    }

    fn wholes<'t>(text: &'t str, pieces: &[&str]) -> Vec<&'t str> {
        let mut end = 0;
        let ends = pieces.iter().map(|piece| {
            end += piece.len();
            end
        });
        ends.map(|end| &text[..end]).collect()
    }

    /// Decodes a text in every partition: each answer is correct, or an error. Returns the number
    /// of both.
    fn enumerate(kind: Kind, text: &str) -> (usize, usize) {
        let (mut right, mut refused) = (0, 0);
        for pieces in cuts(text) {
            let wholes = wholes(text, &pieces);
            let repeated = [&wholes[..], &[text]].concat();
            for (texts, empty_end) in [
                (&pieces, false),
                (&pieces, true),
                (&wholes, false),
                (&repeated, false),
            ] {
                match kind.read(texts, empty_end) {
                    Ok(read) => {
                        assert_eq!(read, text, "{kind:?} {texts:?} {empty_end}");
                        right += 1;
                    }
                    Err(error) => {
                        assert!(!empty_end, "{kind:?} {texts:?} {error:?}");
                        refused += 1;
                    }
                }
            }
        }
        (right, refused)
    }

    #[test]
    fn u20_every_partition_of_a_short_answer_is_decoded_or_rejected_by_an_exchange() {
        let mut texts: Vec<String> = (1..=999).map(|n: u32| n.to_string()).collect();
        let letters = ["", "a", "b", "哈"];
        for a in letters {
            for b in letters {
                for c in letters {
                    texts.extend(["a", "哈"].map(|d| [a, b, c, d].concat()));
                }
            }
        }
        let more = ["Yes, yes", "[1[1", "\n\n\n", "👍👍", "是的,是的"];
        texts.extend(more.map(str::to_owned));
        let (mut right, mut refused) = (0, 0);
        for text in &texts {
            for kind in [Kind::Text, Kind::Reasoning, Kind::Arguments] {
                let (more, errors) = enumerate(kind, text);
                right += more;
                refused += errors;
            }
        }
        assert!(right > refused && refused > 0, "{right} {refused}");
    }

    #[test]
    fn u20_every_partition_of_arguments_is_decoded_or_rejected_by_an_exchange() {
        for text in ["{}", "{\"a\":1}", "{\"a\":{}}", "{\"{\":{}}", "{\"\":[{}]}"] {
            enumerate(Kind::Arguments, text);
        }
    }

    /// Tokenized sentences, with and without text in the last event.
    #[test]
    fn u20_tokenized_sentences_are_never_rejected() {
        let sentences = [
            "Yes, yes, yes, yes.",
            "The cat sat on the mat. The cat sat on the mat. The cat sat on the mat.",
            "是的,是的,我明白了。好好好好,好好学习。",
            "| a | b |\n| - | - |\n| a | b |\n",
            "Hello Hello Hello world",
            "1, 10, 100, 1000, 10000",
            "No. No, no, no! Nobody knows.",
        ];
        for sentence in sentences {
            let words: Vec<&str> = sentence.split_inclusive(' ').collect();
            let ends: Vec<usize> = sentence.char_indices().map(|(at, _)| at).collect();
            for size in 1..=5 {
                let pieces = match size {
                    5 => words.clone(),
                    size => {
                        let starts: Vec<usize> = ends.iter().copied().step_by(size).collect();
                        let next = starts.iter().copied().skip(1).chain([sentence.len()]);
                        let span = starts.iter().zip(next);
                        span.map(|(from, to)| &sentence[*from..to]).collect()
                    }
                };
                for (kind, empty_end) in [
                    (Kind::Text, false),
                    (Kind::Text, true),
                    (Kind::Reasoning, false),
                    (Kind::Reasoning, true),
                ] {
                    let read = kind.read(&pieces, empty_end).unwrap();
                    assert_eq!(read, sentence, "{pieces:?} {empty_end}");
                }
            }
        }
    }

    #[test]
    fn u20_a_repetition_loop_is_not_detected_as_cumulative() {
        let text = "Hello, my friend! ";
        let texts: Vec<String> = (1..6).map(|n| text.repeat(n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert!(Kind::Text.read(&texts, false).is_err());
        assert_eq!(Kind::Text.read(&texts, true).unwrap(), text.repeat(15));
    }

    #[test]
    fn u20_a_surely_cumulative_text_needs_no_repetition_at_the_end() {
        let text = "The cat sat on the mat, and the dog lay under the table.";
        let wholes: Vec<&str> = [7, 15, 22, 40, 50, text.len()].map(|n| &text[..n]).to_vec();
        assert_eq!(Kind::Text.read(&wholes, true).unwrap(), text);
        let error = Kind::Text.read(&wholes[..3], true).unwrap_err();
        assert_eq!(error.sent(), Sent::Begun);
    }
}
