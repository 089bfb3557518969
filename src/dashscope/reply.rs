//! Decodes DashScope's response, whole or streamed, into [`Event`]s. Does no I/O.
//!
//! - **End** (`completion.rs`). An answer is complete when every choice received has a finish
//!   reason, and as many were received as requested, or the body ended. The first finish reason of
//!   a choice applies: later content for it is dropped with a warning, and an error is ignored. The
//!   usage of a later event still counts, because some models send it last; it is never summed: the
//!   last value of each count applies, and events may report different counts.
//! - **Missing end.** A body that ends while a choice has no finish reason was truncated:
//!   `STREAM_TRUNCATED`. Three answers are complete without one: a whole response, because its JSON
//!   is; one whose output is marked `finished`; and the stream of a speech recognition model, which
//!   has a text without choices, when HTTP framing proves that the body is complete.
//! - **Repetition.** `delta_detector.rs` distinguishes deltas from cumulative texts.
//!   `repeated_parts.rs` detects other repeated values, which are emitted once.
//! - **Unknown keys** are kept in the nearest `extra`; see `lenient.rs`. `chat/extra.rs` describes
//!   how the values of several events are merged.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::answer_json::{Body, Output};
use super::body_reader::{BodyReader, check_failure, read_body};
use super::choice::ChoiceDecoder;
use super::delta_detector::{Reading, TextForm, TextFormError};
use super::errors::{truncated, unreadable};
use super::event_template::{self, Template};
use super::json_text::Text;
use super::sentences::Sentences;
use super::sse::Frame;
use super::{annotations, answer_json};
use crate::chat::document::Document;
use crate::chat::dropped_parts::Losses;
use crate::chat::event::{Delta, Event, Piece, SearchInfo, Started};
use crate::chat::extra::Extra;
use crate::chat::warning::{Code, Warning};
use crate::error::{Error, Sent};

/// The maximum number of choices. DashScope returns six at most.
pub(super) const MAX_CHOICES: usize = 64;

/// How long to wait for the end of a body after a complete answer with usage. The end makes the
/// connection reusable; callers should not wait for that.
const LINGER: Duration = Duration::from_millis(50);

/// How long to wait for the usage if the event with the last finish reason has none. Some models
/// send it in a separate event, at most a slow round trip later. DashScope ends a body right after
/// its last event, so this delays no call without usage.
const USAGE_WAIT: Duration = Duration::from_secs(1);

/// How long to wait for a requested choice that has not begun when all others have ended. The
/// choices of a call are generated in parallel; the slowest has begun by then.
const CHOICES_WAIT: Duration = Duration::from_secs(20);

/// What is known of an answer before its body.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The model of the request.
    pub model: Arc<str>,
    /// DashScope's request id, from the response headers.
    pub request_id: String,
    /// The number of requested choices.
    pub choices: usize,
    /// The configured form of its texts.
    pub form: TextForm,
    /// Warnings about the request.
    pub warnings: Vec<Warning>,
}

/// Decodes one answer.
#[derive(Debug)]
pub struct Reply {
    pub(super) opening: Opening,
    pub(super) events: VecDeque<Event>,
    pub(super) sent: Sent,
    pub(super) drafts: Vec<ChoiceDecoder>,
    pub(super) form: TextForm,
    pub(super) usage: String,
    /// The counts of earlier events that had other keys.
    pub(super) usage_before: Extra,
    /// Whether the usage came with the last finish reason, or later.
    pub(super) has_last_usage: bool,
    pub(super) search: Option<SearchInfo>,
    pub(super) extra_output: Extra,
    pub(super) extra: Extra,
    /// Losses in the unknown keys above.
    pub(super) losses: Losses,
    pub(super) sentences: Sentences,
    /// Whether an event had choices.
    pub(super) has_choices: bool,
    /// Whether the answer is complete without finish reasons if its body is.
    pub(super) needs_no_reason: bool,
    /// Whether an event without choices had a finish reason, even if only to report that the answer
    /// continues.
    pub(super) has_reasons: bool,
    /// An error with an unknown code that accompanied the answer.
    pub(super) noticed: Option<Error>,
    /// Whether an event could not be decoded; then no answer is complete.
    has_failed: bool,
    /// Whether the stream said that nothing follows.
    is_done: bool,
    /// The template for the following events.
    template: Option<Box<Template>>,
    /// The reader of another form than DashScope's.
    pub(super) reader: Option<Box<dyn BodyReader>>,
}

impl Reply {
    /// A decoder at the start of an answer.
    pub fn new(opening: Opening) -> Self {
        Self {
            form: opening.form,
            events: VecDeque::new(),
            sent: Sent::Maybe,
            drafts: Vec::with_capacity(opening.choices.clamp(1, MAX_CHOICES)),
            usage: String::new(),
            usage_before: Extra::default(),
            has_last_usage: false,
            search: None,
            extra_output: Extra::default(),
            extra: Extra::default(),
            losses: Losses::default(),
            sentences: Sentences::default(),
            has_choices: false,
            needs_no_reason: false,
            has_reasons: false,
            noticed: None,
            has_failed: false,
            is_done: false,
            opening,
            template: None,
            reader: None,
        }
    }

    /// Removes the next decoded event.
    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether decoded events are queued.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// How far the call has come, for an error that happens now.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Whether all requested choices are complete.
    pub fn is_finished(&self) -> bool {
        !self.has_failed && self.all_ended() && self.drafts.len() >= self.opening.choices.max(1)
    }

    /// How long to wait for optional data. `None` while the answer is incomplete.
    pub fn wait_limit(&self) -> Option<Duration> {
        if self.holds_ends() {
            return Some(CHOICES_WAIT);
        }
        self.all_ended().then(|| match self.is_finished() {
            false => CHOICES_WAIT,
            true if self.has_last_usage || self.is_done => LINGER,
            true => USAGE_WAIT,
        })
    }

    /// Decodes the next event of a stream. After an error the answer is never complete.
    pub fn push_frame(&mut self, frame: &Frame) -> Result<(), Error> {
        let taken = self.read_frame(frame);
        self.has_failed |= taken.is_err();
        taken
    }

    fn read_frame(&mut self, frame: &Frame) -> Result<(), Error> {
        let text = text_of(&frame.data);
        let text = text.trim();
        let is_error = frame.event.as_ref() == b"error";
        if text == "[DONE]" {
            self.is_done = true;
            return self.release_ends();
        }
        if text.is_empty() && !is_error {
            return Ok(());
        }
        let finished = self.is_finished();
        let mut template = self.template.take();
        let body = match &mut self.reader {
            Some(reader) if !reader.events_are_alike() => reader.read(text),
            reader => event_template::read(&mut template, text, |text| read_body(reader, text)),
        };
        let body = match body {
            Some(body) => body,
            None if finished => {
                let message = "an event after the end of the answer is not JSON and was ignored";
                self.add_warning(Warning::new(Code::AnswerPartDropped, "", message));
                return Ok(());
            }
            None => return Err(self.not_json(frame, text)),
        };
        let status = frame.http_status.unwrap_or_default();
        let taken = match self.embedded_error(&body, status, is_error) {
            Some(fault) => self.handle_error(fault, body, true),
            None => self.take_fine(body, true),
        };
        self.template = template;
        taken.and_then(|()| check_failure(&mut self.reader, &mut self.noticed, finished))
    }

    /// Decodes the body of a response that is not a stream.
    pub fn push_whole(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let text = text_of(bytes);
        let text = text.trim();
        if text.is_empty() {
            return Err(truncated("the body is empty", self.sent));
        }
        let body = read_body(&mut self.reader, text)
            .ok_or_else(|| unreadable("the body has an unexpected JSON structure", self.sent))?;
        // A whole response has its text in one piece.
        self.form = TextForm::Pieces;
        match self.embedded_error(&body, 0, false) {
            Some(fault) => self.handle_error(fault, body, false)?,
            None => self.take_fine(body, false)?,
        }
        check_failure(&mut self.reader, &mut self.noticed, false)?;
        self.needs_no_reason = true;
        self.end_without_reason(false)?;
        if !self.drafts.iter().any(ChoiceDecoder::is_answer) {
            return Err(unreadable("the body has no answer", Sent::Maybe));
        }
        Ok(())
    }

    pub(super) fn all_ended(&self) -> bool {
        !self.drafts.is_empty() && self.drafts.iter().all(|d| d.finish_reason.is_some())
    }

    fn take_fine(&mut self, body: Body<'_>, streamed: bool) -> Result<(), Error> {
        self.keep_code(&body);
        self.decode_body(body, streamed)
    }

    /// Handles a body that is not an error.
    pub(super) fn decode_body(&mut self, body: Body<'_>, streamed: bool) -> Result<(), Error> {
        let has_usage = self.record_usage_of(&body);
        self.extra
            .add(body.extra, format_args!(""), &mut self.losses);
        body.warnings
            .into_iter()
            .for_each(|warning| self.add_warning(warning));
        if let Some(output) = body.output {
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
            self.decode_output(output, streamed)?;
        }
        self.has_last_usage |= has_usage && self.all_ended();
        Ok(())
    }

    fn decode_output(&mut self, mut output: Output<'_>, streamed: bool) -> Result<(), Error> {
        if let Some(info) = output.search_info.take() {
            let info = annotations::search_info(info);
            if self.search.as_ref() != Some(&info) {
                let before = self.search.replace(info.clone());
                if before.is_some_and(|before| !annotations::has_all(&info, &before)) {
                    let message = "a later event lacks sources of an earlier one; the last \
                                   sources are kept";
                    let field = "output.search_info";
                    self.add_warning(Warning::new(Code::AnswerPartDropped, field, message));
                }
                self.events.push_back(Event::Delta(Delta {
                    choice: 0,
                    starts_part: false,
                    piece: Piece::Search(info),
                }));
            }
        }
        if streamed && output.is_bare {
            self.keep_bare(&output);
            return Ok(());
        }
        let finished = output.finished == Some(true);
        let mut choices = output.choices.take().unwrap_or_default();
        let has_choices = !choices.is_empty();
        if !has_choices {
            choices.extend(self.without_choices(&mut output, streamed)?);
        }
        self.has_choices |= has_choices;
        if self.has_choices && self.needs_no_reason {
            // Texts of the two layouts replace each other, and some may be missing.
            return Err(unreadable(TextFormError::Changed.what(), self.sent));
        }
        if let Some(finished) = output.finished {
            let value = Document::Bool(finished);
            output.extra.0.push(("finished".to_owned(), value));
        }
        self.extra_output
            .add(output.extra, format_args!("output"), &mut self.losses);
        let mut audio = output.audio;
        let is_one_of_many =
            streamed && choices.len() == 1 && self.drafts.len().max(self.opening.choices) > 1;
        for (position, choice) in choices.iter_mut().enumerate() {
            self.check_index(position, choice, is_one_of_many)?;
        }
        for (position, choice) in choices.into_iter().enumerate() {
            let place = i32::try_from(position).unwrap_or(i32::MAX);
            self.decode_choice(place, choice, audio.take(), streamed)?;
        }
        match finished {
            true => self.end_without_reason(streamed),
            false => Ok(()),
        }
    }

    /// Handles one choice of an event.
    pub(super) fn decode_choice(
        &mut self,
        place: i32,
        mut choice: answer_json::Choice<'_>,
        audio: Option<answer_json::Audio<'_>>,
        streamed: bool,
    ) -> Result<(), Error> {
        let index = choice.index.take().unwrap_or(place);
        let at = self.choice_at(index)?;
        if self
            .drafts
            .get(at)
            .is_some_and(|draft| draft.finish_reason.is_some())
        {
            return self.with_choice(at, streamed, |draft, reading| {
                draft.decode_late(choice, audio, reading);
                Ok(())
            });
        }
        self.with_choice(at, streamed, |draft, reading| {
            draft.take(choice, audio, reading)
        })
    }

    /// Runs a choice's decoder and queues what is new.
    pub(super) fn with_choice(
        &mut self,
        at: usize,
        streamed: bool,
        read: impl FnOnce(&mut ChoiceDecoder, &mut Reading<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(draft) = self.drafts.get_mut(at) else {
            return Ok(());
        };
        let mut reading = Reading {
            is_given: self.opening.form != TextForm::Unknown,
            form: &mut self.form,
            streamed,
            sent: self.sent,
        };
        let outcome = read(draft, &mut reading);
        self.events.extend(draft.deltas.drain(..).map(Event::Delta));
        if !draft.warnings.is_empty() {
            let warnings = std::mem::take(&mut draft.warnings);
            warnings
                .into_iter()
                .for_each(|warning| self.add_warning(warning));
        }
        outcome
    }

    fn choice_at(&mut self, index: i32) -> Result<usize, Error> {
        if let Some(at) = self.drafts.iter().position(|draft| draft.index == index) {
            return Ok(at);
        }
        if self.drafts.len() >= MAX_CHOICES {
            return Err(unreadable("there are too many choices", self.sent));
        }
        self.drafts.push(ChoiceDecoder::new(index));
        Ok(self.drafts.len() - 1)
    }
}

/// The bytes as text, with invalid UTF-8 replaced. Validated once with SIMD, at a tenth of the
/// cost; the JSON parser need not validate again.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::answer::{Answer, AnswerBuilder};
    use crate::chat::document::{Object, Real};
    use crate::chat::event::Logprobs;
    use crate::chat::message::{Body as PartBody, ToolCall};
    use crate::error::Reason;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn reply(choices: usize) -> Reply {
        Reply::new(Opening {
            model: "m".into(),
            request_id: "from-head".into(),
            choices,
            ..Opening::default()
        })
    }

    fn frame(data: &Value) -> Frame {
        Frame {
            event: Bytes::from_static(b"result"),
            data: data.to_string().into(),
            http_status: Some(200),
            whole: true,
        }
    }

    fn stream(choices: usize, frames: &[Value]) -> Result<Vec<Event>, Error> {
        let mut reply = reply(choices);
        for data in frames {
            reply.push_frame(&frame(data))?;
        }
        reply.finish()?;
        Ok(std::iter::from_fn(|| reply.pop()).collect())
    }

    fn whole(body: &Value) -> Result<Vec<Event>, Error> {
        let mut reply = reply(1);
        reply.push_whole(body.to_string().as_bytes())?;
        reply.finish()?;
        Ok(std::iter::from_fn(|| reply.pop()).collect())
    }

    fn answer(events: Vec<Event>) -> Answer {
        let mut fold = AnswerBuilder::default();
        let mut answer = None;
        for event in events {
            assert!(answer.is_none(), "nothing comes after the end");
            answer = fold.push(event);
        }
        answer.unwrap()
    }

    fn says(message: Value, finish: Value) -> Value {
        json!({ "output": { "choices": [{ "message": message, "finish_reason": finish }] } })
    }

    fn text(answer: &Answer) -> String {
        let mut text = String::new();
        for part in &answer.choices[0].turn.parts {
            if let PartBody::Text(more) = &part.body {
                text.push_str(more);
            }
        }
        text
    }

    #[test]
    fn an_error_event_that_is_not_json_is_classified_by_its_status() {
        for (status, data, reason) in [
            (Some(429), "Too many requests", Reason::UpstreamRate),
            (Some(429), "", Reason::UpstreamRate),
            (Some(503), "{", Reason::UpstreamUnknown),
            (None, "Bad gateway", Reason::UpstreamUnknown),
        ] {
            let frame = Frame {
                event: Bytes::from_static(b"error"),
                data: data.into(),
                http_status: status,
                whole: true,
            };
            let error = reply(1).push_frame(&frame).unwrap_err();
            assert_eq!(error.reason(), reason, "{status:?} {data}");
            assert_eq!(error.sent(), Sent::Refused);
        }
    }

    #[test]
    fn content_is_decoded_in_every_shape() {
        let stop = json!("stop");
        for content in [
            json!([{ "text": "hi" }]),
            json!("hi"),
            json!([{ "text": "h" }, { "text": "i" }]),
        ] {
            let events = whole(&says(json!({ "content": content }), stop.clone())).unwrap();
            assert_eq!(text(&answer(events)), "hi");
        }
        for content in [json!([]), json!(null), json!(""), json!([{ "text": "" }])] {
            let events = whole(&says(json!({ "content": content }), stop.clone())).unwrap();
            assert_eq!(events.len(), 2, "{content}");
        }
    }

    #[test]
    fn a_missing_finish_reason_has_three_spellings() {
        for unfinished in [json!("null"), json!(null), json!("")] {
            let body = says(json!({ "content": "hi" }), unfinished.clone());
            assert_eq!(
                stream(1, &[body]).unwrap_err().reason(),
                Reason::StreamTruncated
            );
            let frames = [
                says(json!({ "content": "hi" }), unfinished),
                says(json!({ "content": [] }), json!("length")),
            ];
            let answer = answer(stream(1, &frames).unwrap());
            assert_eq!(answer.choices[0].finish_reason, "length");
        }
        let absent = json!({ "output": { "choices": [{ "message": { "content": "hi" } }] } });
        let error = stream(1, &[absent]).unwrap_err();
        assert_eq!(
            (error.reason(), error.sent()),
            (Reason::StreamTruncated, Sent::Begun)
        );
    }

    #[test]
    fn choices_are_separate_and_each_must_end() {
        let frame = |index: i32, text: &str, finish: &str| {
            json!({ "output": { "choices": [{
                "index": index, "message": { "content": text }, "finish_reason": finish,
            }] } })
        };
        let frames = [
            frame(1, "x", "null"),
            frame(0, "a", "null"),
            frame(1, "y", "stop"),
            frame(0, "b", "length"),
        ];
        let complete = answer(stream(2, &frames).unwrap());
        let ends: Vec<_> = complete
            .choices
            .iter()
            .map(|c| (c.index, &*c.finish_reason))
            .collect();
        assert_eq!(ends, [(0, "length"), (1, "stop")]);
        assert_eq!(
            stream(2, &frames[..3]).unwrap_err().reason(),
            Reason::StreamTruncated
        );
        let by_position = json!({ "output": { "choices": [
            { "message": { "content": "a" }, "finish_reason": "stop" },
            { "message": { "content": "b" }, "finish_reason": "stop" },
        ] } });
        assert_eq!(answer(whole(&by_position).unwrap()).choices.len(), 2);
        for odd in [-1, 64, 99_999] {
            let frames = [frame(0, "a", "null"), frame(odd, "b", "stop")];
            assert_eq!(text(&answer(stream(1, &frames).unwrap())), "ab");
            let frames = [
                frame(0, "a", "null"),
                frame(1, "b", "stop"),
                frame(odd, "c", "stop"),
            ];
            assert_eq!(
                stream(1, &frames).unwrap_err().reason(),
                Reason::UpstreamProtocol
            );
        }
    }

    #[test]
    fn tool_calls_are_assembled_by_index() {
        let piece = |calls: Value, finish: &str| {
            says(json!({ "content": [], "tool_calls": calls }), json!(finish))
        };
        let frames = [
            piece(
                json!([{ "index": 0, "id": "a", "type": "function",
                "function": { "name": "f", "arguments": "" } }]),
                "null",
            ),
            piece(
                json!([{ "index": 0, "id": "", "type": "function",
                "function": { "arguments": "{\"x\":" } }]),
                "null",
            ),
            piece(
                json!([
                    { "index": 0, "id": "", "function": { "arguments": "1}" } },
                    { "index": 1, "id": "b", "type": "function",
                        "function": { "name": "g", "arguments": "{}" } },
                ]),
                "tool_calls",
            ),
        ];
        let events = stream(1, &frames).unwrap();
        let pieces: Vec<_> = events
            .iter()
            .filter_map(|event| {
                let Event::Delta(delta) = event else {
                    return None;
                };
                let Piece::ToolCall(call) = &delta.piece else {
                    return None;
                };
                Some(call.clone())
            })
            .collect();
        let call = |index, id: &str, kind: &str, name: &str, arguments: &str| ToolCall {
            index,
            id: id.into(),
            kind: kind.into(),
            name: name.into(),
            arguments: arguments.into(),
            extra: Object::default(),
        };
        assert_eq!(
            pieces,
            [
                call(0, "a", "function", "f", ""),
                call(0, "", "", "", "{\"x\":"),
                call(0, "", "", "", "1}"),
                call(1, "b", "function", "g", "{}"),
            ]
        );
        assert_eq!(answer(events).choices[0].finish_reason, "tool_calls");
    }

    #[test]
    fn u20_cumulative_texts_become_deltas_in_every_field() {
        let frame = |thought: &str, text: &str, arguments: &str, finish: &str| {
            says(
                json!({
                    "reasoning_content": thought,
                    "content": [{ "text": text }],
                    "tool_calls": [{
                        "index": 0, "id": "a",
                        "function": { "name": "f", "arguments": arguments },
                    }],
                    "annotations": [{ "type": "audio_info", "language": "zh" }],
                }),
                json!(finish),
            )
        };
        let frames = [
            frame("Let me see", "", "", "null"),
            frame("Let me see it", "The cat sat", "", "null"),
            frame("Let me see it", "The cat sat on the", "{\"a\"", "null"),
            frame(
                "Let me see it",
                "The cat sat on the mat.",
                "{\"a\":1}",
                "stop",
            ),
        ];
        let answer = answer(stream(1, &frames).unwrap());
        let turn = &answer.choices[0].turn;
        assert_eq!(turn.reasoning, "Let me see it");
        assert_eq!(text(&answer), "The cat sat on the mat.");
        assert_eq!(turn.tool_calls[0].arguments, "{\"a\":1}");
        assert_eq!(turn.annotations.len(), 1);
    }

    #[test]
    fn u19_only_the_usage_counts_after_the_end() {
        let mut end = says(json!({ "content": "hi" }), json!("stop"));
        end["usage"] = json!({ "output_tokens": 1 });
        let mut late = says(json!({ "content": "more" }), json!("length"));
        late["usage"] = json!({ "output_tokens": 2, "seconds": 1.5, "odd": [1] });
        let mut reply = reply(1);
        reply.push_frame(&frame(&end)).unwrap();
        reply.push_frame(&frame(&late)).unwrap();
        let mut error = frame(&json!({ "code": "InternalError", "message": "m" }));
        error.event = Bytes::from_static(b"error");
        reply.push_frame(&error).unwrap();
        let garbage = Frame {
            data: Bytes::from_static(b"{"),
            ..error
        };
        reply.push_frame(&garbage).unwrap();
        reply.finish().unwrap();
        let answer = answer(std::iter::from_fn(|| reply.pop()).collect());
        assert_eq!(
            (text(&answer), &*answer.choices[0].finish_reason),
            ("hi".to_owned(), "stop")
        );
        let usage = answer.usage.unwrap();
        assert_eq!(
            (usage.output_tokens, usage.seconds),
            (Some(2), Some(Real(1.5)))
        );
        assert_eq!(usage.input_tokens, None);
        assert!(usage.extra.value("odd").is_some());
    }

    #[test]
    fn speech_is_decoded_without_choices() {
        let frame = |audio: Value, finish: &str| {
            let output = json!({ "audio": audio, "finish_reason": finish });
            json!({ "output": output })
        };
        let frames = [
            frame(
                json!({ "data": "AAEC", "id": "a", "expires_at": 9 }),
                "null",
            ),
            frame(json!({ "data": "Aw", "id": "a", "expires_at": 9 }), "null"),
            frame(
                json!({ "data": "", "url": "http://x/a.wav", "id": "a", "expires_at": 9 }),
                "stop",
            ),
        ];
        let events = stream(1, &frames).unwrap();
        let pieces: Vec<_> = events
            .into_iter()
            .filter_map(|event| {
                let Event::Delta(delta) = event else {
                    return None;
                };
                Some(delta.piece)
            })
            .collect();
        let file = crate::chat::media::AudioFile {
            uri: "http://x/a.wav".into(),
            id: "a".into(),
            expires_at: Some(9),
            extra: Object::default(),
        };
        let expected = [
            Piece::Audio(Bytes::from_static(&[0, 1, 2])),
            Piece::Audio(Bytes::from_static(&[3])),
            Piece::AudioFile(file),
        ];
        assert_eq!(pieces, expected);
        for odd in [json!("not base64!"), json!(4711), json!({ "a": 1 })] {
            let frames = [
                frame(json!({ "data": odd }), "null"),
                frame(json!({}), "stop"),
            ];
            let answer = answer(stream(1, &frames).unwrap());
            let held = format!("{answer:?}");
            assert!(
                held.contains("AudioFile") || held.contains("data"),
                "{held}"
            );
            assert_eq!(answer.warnings.len(), 1, "{odd}");
        }
    }

    #[test]
    fn unknown_keys_are_kept() {
        let body = json!({
            "output": {
                "choices": [{
                    "finish_reason": "stop",
                    "message": { "role": "assistant", "content": [
                        { "text": "1", "ocr_result": { "words": [1, null] } },
                        { "image": "https://x/a.png" },
                        { "image_hw": [[1, 2]] },
                    ] },
                    "logprobs": { "content": [{ "token": "1", "bytes": [49], "logprob": -0.5 }] },
                }],
                "task_metric": { "TOTAL": 1 },
                "search_info": { "search_results": [{ "index": 1, "url": "u" }], "more": true },
                "nothing": null,
            },
            "request_id": "in-body",
        });
        let answer = answer(whole(&body).unwrap());
        let choice = &answer.choices[0];
        assert!(choice.turn.parts[0].extra.value("ocr_result").is_some());
        assert!(choice.turn.parts[2].extra.value("image_hw").is_some());
        let Some(Logprobs { content, .. }) = &choice.logprobs else {
            panic!("{choice:?}");
        };
        assert_eq!(
            (content[0].bytes.as_slice(), content[0].logprob),
            (&b"1"[..], Some(Real(-0.5)))
        );
        assert_eq!(answer.search.unwrap().results[0].url, "u");
        let keys: Vec<_> = answer
            .extra_output
            .0
            .iter()
            .map(|(key, _)| &**key)
            .collect();
        assert_eq!(keys, ["task_metric"]);
        assert_eq!(answer.started.upstream_request_id, "in-body");
        let metric = Document::Object(Object(vec![("TOTAL".into(), Document::Number(Real(1.0)))]));
        assert_eq!(answer.extra_output.value("task_metric"), Some(&metric));
    }

    #[test]
    fn half_of_a_surrogate_pair_loses_no_answer() {
        let body = r#"{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant",
            "content":[{"text":"a\ud800b \ud83d\ude00"}]}}]}}"#;
        let mut reply = reply(1);
        reply.push_whole(body.as_bytes()).unwrap();
        reply.finish().unwrap();
        let events: Vec<_> = std::iter::from_fn(|| reply.pop()).collect();
        let events = format!("{events:?}");
        assert!(events.contains("a\u{fffd}b \u{1f600}"), "{events}");
        assert!(events.contains("half of a surrogate pair"), "{events}");
    }

    #[test]
    fn u18_invalid_answers_are_rejected() {
        for body in [
            "{",
            "[]",
            "1",
            "\"x\"",
            "null",
            "{}",
            r#"{"output":null}"#,
            r#"{"output":{}}"#,
            r#"{"output":[]}"#,
            r#"{"output":{"choices":{}}}"#,
            r#"{"output":{"choices":[{}]}}"#,
            r#"{"output":{"choices":5}}"#,
            r#"{"output":{"choices":[]}}"#,
            r#"{"output":{"choices":[{"index":1e308}]}}"#,
        ] {
            let mut reply = reply(1);
            let error = reply.push_whole(body.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), Reason::UpstreamProtocol, "{body}");
        }
        let deep = format!(
            "{{\"output\":{{\"x\":{}1{}}}}}",
            "[".repeat(5000),
            "]".repeat(5000)
        );
        assert!(reply(1).push_whole(deep.as_bytes()).is_err());
    }

    #[test]
    fn s1_a_value_of_another_type_is_converted_if_unambiguous() {
        for (body, expected) in [
            (r#"{"output":{"choices":[{"message":{"content":5}}]}}"#, "5"),
            (
                r#"{"output":{"choices":[{"message":{"content":[5,"x"]}}]}}"#,
                "5x",
            ),
            (
                r#"{"output":{"choices":{"message":{"content":{"text":5}}}}}"#,
                "5",
            ),
            (
                r#"{"output":{"choices":[{"message":"a","finish_reason":5}]}}"#,
                "a",
            ),
            (
                r#"{"output":{"choices":[null,{"index":"1","message":"a"}]}}"#,
                "a",
            ),
            (r#"{"output":{"text":"a"},"output":{"text":"b"}}"#, "b"),
            (r#"{"request_id":12,"output":{"text":"a"},"usage":7}"#, "a"),
            (r#"{"output":"a"}"#, "a"),
        ] {
            let mut reply = reply(1);
            reply.push_whole(body.as_bytes()).unwrap();
            reply.finish().unwrap();
            let answer = answer(std::iter::from_fn(|| reply.pop()).collect());
            assert_eq!(text(&answer), expected, "{body}");
        }
        let calls = json!({ "index": "0", "id": 7, "function": {
            "name": "f", "arguments": { "n": 1.50, "m": null } } });
        let message = json!({ "tool_calls": calls, "annotations": "audio_info" });
        let answer = answer(whole(&says(message, json!("stop"))).unwrap());
        let turn = &answer.choices[0].turn;
        assert_eq!(turn.tool_calls[0].id, "7");
        assert_eq!(turn.tool_calls[0].arguments, r#"{"n":1.5,"m":null}"#);
        assert_eq!(turn.annotations[0].kind, "audio_info");
    }

    #[test]
    fn a_duplicate_key_causes_a_warning() {
        let body = r#"{"output":{"text":"a","text":"b"},"usage":{"n":{"k":1,"k":2}}}"#;
        let mut reply = reply(1);
        reply.push_whole(body.as_bytes()).unwrap();
        reply.finish().unwrap();
        let answer = answer(std::iter::from_fn(|| reply.pop()).collect());
        let fields: Vec<_> = answer.warnings.iter().map(|w| w.field.as_str()).collect();
        assert_eq!(fields, ["output.text", "usage.n.k"]);
        assert!(
            answer
                .warnings
                .iter()
                .all(|w| w.code == Code::AnswerPartDropped)
        );
    }

    #[test]
    fn u3_numbers_out_of_range_affect_nothing_else() {
        let body = r#"{"output":{"text":"a","big":18446744073709551617,"ten":1e20},"usage":{
            "input_tokens":9007199254740993,"output_tokens":"12","seconds":1e400,
            "total_tokens":3000000000,"characters":4}}"#;
        let mut reply = reply(1);
        reply.push_whole(body.as_bytes()).unwrap();
        reply.finish().unwrap();
        let answer = answer(std::iter::from_fn(|| reply.pop()).collect());
        let usage = answer.usage.unwrap();
        assert_eq!((usage.output_tokens, usage.characters), (Some(12), Some(4)));
        assert_eq!((usage.input_tokens, usage.total_tokens), (None, None));
        let text = |text: &str| Some(Document::String(text.to_owned()));
        assert_eq!(
            usage.extra.value("input_tokens").cloned(),
            text("9007199254740993")
        );
        assert_eq!(usage.extra.value("seconds").cloned(), text("1e400"));
        assert_eq!(
            answer.extra_output.value("big").cloned(),
            text("18446744073709551617")
        );
        let ten = Document::Number(Real(1e20));
        assert_eq!(answer.extra_output.value("ten"), Some(&ten));
    }

    /// The strict and the lenient reader agree on documented responses.
    #[test]
    fn the_strict_and_the_lenient_reader_agree() {
        let message = json!({
            "role": "assistant", "reasoning_content": "r", "phase": 1,
            "content": [{ "text": "a\n", "k": [1, null] }, { "image": "i" }, { "audio": "u" },
                { "audio": { "data": "AA", "id": "i", "expires_at": 3, "x": true } }],
            "tool_calls": [{ "index": 1, "id": "c", "type": "function", "y": 2,
                "function": { "name": "f", "arguments": "{\"a\": 1}", "z": 3 } }],
            "annotations": [{ "type": "t", "language": "l", "emotion": "e", "m": {} }],
        });
        let choice = json!({ "index": 2, "finish_reason": "stop", "message": message, "c": "d",
            "logprobs": { "p": 1, "content": [{ "token": "t", "bytes": [1, 2], "logprob": -0.25,
                "q": 1, "top_logprobs": [{ "token": "u" }] }] } });
        let body = json!({
            "request_id": "r", "code": "", "message": "", "error": { "code": 5 }, "top": [0.5],
            "output": { "choices": [choice], "text": "t", "finish_reason": "f", "other": {},
                "audio": { "url": "w" }, "finished": false, "search_info": { "s": 1,
                "search_results": [{ "index": 1, "title": "t", "url": "u", "site_name": "n",
                    "icon": "i", "v": 1 }] } },
            "usage": { "n": 1 },
        });
        let text = body.to_string();
        let strict: Body<'_> = super::super::strict::read(&text).unwrap();
        let lenient = super::super::lenient::body(&text).unwrap();
        assert_eq!(format!("{strict:?}"), format!("{lenient:?}"));
    }

    #[test]
    fn a_stream_of_speech_recognition_needs_no_finish_reason() {
        let frames = [
            json!({ "output": { "text": "你" } }),
            json!({ "output": { "text": "您好" } }),
        ];
        let read = |is_whole: bool| {
            let mut reply = reply(1);
            for data in &frames {
                reply.push_frame(&frame(data)).unwrap();
            }
            reply.finish_body(is_whole)?;
            Ok::<_, Error>(answer(std::iter::from_fn(|| reply.pop()).collect()))
        };
        assert_eq!(text(&read(true).unwrap()), "您好");
        assert_eq!(read(false).unwrap_err().reason(), Reason::StreamTruncated);
        let sentence = |id: i32, text: &str| {
            let sentence = json!({ "sentence_id": id, "text": text, "words": [{ "text": text }] });
            json!({ "output": { "sentence": sentence } })
        };
        let mut reply = reply(1);
        for data in [sentence(1, "a"), sentence(1, "ab,"), sentence(2, "c")] {
            reply.push_frame(&frame(&data)).unwrap();
        }
        reply.finish_body(true).unwrap();
        let answer = answer(std::iter::from_fn(|| reply.pop()).collect());
        assert_eq!(text(&answer), "ab,c");
        let Some(Document::List(kept)) = answer.extra_output.value("sentence") else {
            panic!("{answer:?}");
        };
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn g1_an_empty_last_event_proves_deltas() {
        let read = |texts: &[&str], last: Value| {
            let mut frames: Vec<_> = texts
                .iter()
                .map(|text| says(json!({ "content": [{ "text": text }] }), json!("null")))
                .collect();
            frames.push(says(json!({ "content": last }), json!("stop")));
            stream(1, &frames).map(|events| text(&answer(events)))
        };
        assert_eq!(read(&["1", "10"], json!([])).unwrap(), "110");
        let error = read(&["1"], json!([{ "text": "10" }])).unwrap_err();
        assert_eq!(error.reason(), Reason::UpstreamProtocol);
        let texts = ["The cat", "The cat sat", "The cat sat on the mat"];
        assert!(read(&texts, json!([])).is_err());
        assert_eq!(
            read(&texts, json!([{ "text": texts[2] }])).unwrap(),
            texts[2]
        );
    }

    #[test]
    fn m2_parts_stay_separate_with_their_unknown_keys() {
        let body = says(
            json!({ "phase": "final", "role": "model", "content": [
                { "text": "a", "ocr_result": 1 }, { "text": "b", "ocr_result": 2 },
                { "file": { "url": "f" } }, { "audio": "u1" }, { "audio": "u2" },
            ] }),
            json!("stop"),
        );
        for events in [
            whole(&body).unwrap(),
            stream(1, std::slice::from_ref(&body)).unwrap(),
        ] {
            let answer = answer(events);
            let turn = &answer.choices[0].turn;
            let kept = |at: usize, key: &str| turn.parts[at].extra.value(key).cloned();
            assert_eq!(turn.parts.len(), 5, "{turn:?}");
            assert_eq!(kept(0, "ocr_result"), Some(Document::Number(Real(1.0))));
            assert_eq!(kept(1, "ocr_result"), Some(Document::Number(Real(2.0))));
            assert!(kept(2, "file").is_some());
            let role = Document::String("model".into());
            assert_eq!(turn.extra.value("role"), Some(&role));
            assert!(turn.extra.value("phase").is_some());
        }
        let frames = [
            says(
                json!({ "content": [{ "text": "a", "k": 1 }] }),
                json!("null"),
            ),
            says(
                json!({ "content": [{ "text": "b", "k": 2 }] }),
                json!("null"),
            ),
            says(
                json!({ "content": [{ "text": "c", "k": 2 }] }),
                json!("null"),
            ),
            says(json!({ "content": [] }), json!("stop")),
        ];
        let answer = answer(stream(1, &frames).unwrap());
        assert_eq!(answer.choices[0].turn.parts.len(), 2);
        assert_eq!(text(&answer), "abc");
    }

    #[test]
    fn an_error_in_a_body_with_a_success_status_is_detected() {
        for body in [
            r#"{"code":"Arrearage","message":"m"}"#,
            r#"{"code":"Arrearage","message":"m","output":null,"usage":null}"#,
            r#"{"code":"Arrearage","message":"m","output":{}}"#,
            r#"{"code":"Arrearage","message":"m","output":{"choices":[]}}"#,
            r#"{"code":"Arrearage","message":"m","output":{"task_status":"FAILED"}}"#,
            r#"{"output":{"task_status":"FAILED","code":"Arrearage","message":"m"}}"#,
        ] {
            let error = reply(1).push_whole(body.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), Reason::UpstreamBilling, "{body}");
            assert_eq!(error.sent(), Sent::Refused);
            assert_eq!(error.upstream().unwrap().request_id, "from-head");
        }
        let fine = r#"{"code":"","message":"","output":{"text":"a","finish_reason":"stop"}}"#;
        assert!(reply(1).push_whole(fine.as_bytes()).is_ok());
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        let mut body = br#"{"output":{"text":""#.to_vec();
        body.extend_from_slice(b"a\xff");
        body.extend_from_slice(br#"","finish_reason":"stop"}}"#);
        let mut reply = reply(1);
        reply.push_whole(&body).unwrap();
        reply.finish().unwrap();
        let answer = answer(std::iter::from_fn(|| reply.pop()).collect());
        assert_eq!(text(&answer), "a\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_body_causes_a_panic(body in "\\PC{0,60}|[\\[\\]{}\",:a-z0-9]{0,60}") {
            let _ = reply(1).push_whole(body.as_bytes());
            let data = Frame {
                event: Bytes::new(),
                data: body.into(),
                http_status: None,
                whole: false,
            };
            let mut reply = reply(1);
            let _ = reply.push_frame(&data);
            let _ = reply.finish();
        }

        #[test]
        fn no_truncation_yields_a_complete_answer(at in 0usize..140) {
            let body = says(json!({ "content": [{ "text": "hello" }] }), json!("stop")).to_string();
            let body = body.as_bytes();
            if at < body.len() {
                let mut reply = reply(1);
                prop_assert!(reply.push_whole(&body[..at]).is_err());
            }
        }
    }
}
