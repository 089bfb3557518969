//! From DashScope's answer, whole or in events, to [`Event`]s. Does no I/O.
//!
//! - **The end.** An answer is complete when every choice that was seen has a finish reason, and as
//!   many were seen as were asked for, or the body ended. The first finish of a choice wins: what
//!   comes for it later is ignored, an error too. The usage of a later event still counts, because
//!   some models send it last; it is never summed, the last one holds.
//! - **No end.** A body that ends while a choice has no finish reason was cut: `STREAM_TRUNCATED`.
//! - **Repetition.** `growth.rs` tells pieces from repeated wholes for text, thought and arguments.
//!   A note, a picture, a file or the sources that come again unchanged are passed on once.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::choice::Draft;
use super::fault::{Said, error_object, truncated, unreadable};
use super::sse::Frame;
use super::text::Text;
use super::usage::usage;
use super::wire::{Body, Output};
use super::{notes, wire};
use crate::chat::document::Object;
use crate::chat::event::{ChoiceEnd, Delta, End, Event, Piece, SearchInfo, Started};
use crate::chat::usage::Usage;
use crate::chat::warning::Warning;
use crate::error::{Error, Sent};

/// The most answers to one call that are told apart. DashScope gives six at most.
const MAX_CHOICES: usize = 64;

/// What is known of an answer before its body.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The model that was asked.
    pub model: Arc<str>,
    /// DashScope's name of the call, as the head of the answer has it.
    pub request_id: String,
    /// How many choices were asked for.
    pub choices: usize,
    /// What the caller should know about the request.
    pub warnings: Vec<Warning>,
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
        let text = text_of(&frame.data);
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
        let text = text_of(bytes);
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
                    extra: Object::default(),
                })
            })
            .collect();
        self.events.push_back(Event::End(Box::new(End {
            choices,
            usage: usage(&self.usage).map(Box::new),
            extra_output: std::mem::take(&mut self.extra),
            extra: Object::default(),
            warnings: std::mem::take(&mut self.opening.warnings),
        })));
        Ok(())
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

    /// What the last event that counted said was used.
    pub fn usage_so_far(&self) -> Option<Usage> {
        usage(&self.usage)
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
                self.events.push_back(Event::Delta(Delta {
                    choice: 0,
                    starts_part: false,
                    piece,
                }));
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
                    starts_part: false,
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

/// The text of an answer. What is no text in it is replaced. Looked at once, with wide registers,
/// which is a tenth of the work for a piece; JSON's reader need not look again.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::answer::{Answer, Fold};
    use crate::chat::document::{Document, Real};
    use crate::chat::event::Logprobs;
    use crate::chat::turn::{Body as PartBody, ToolCall};
    use crate::error::Reason;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn reply(choices: usize) -> Reply {
        Reply::new(Opening {
            model: "m".into(),
            request_id: "from-head".into(),
            choices,
            warnings: Vec::new(),
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
            reply.take_frame(&frame(data))?;
        }
        reply.finish()?;
        Ok(std::iter::from_fn(|| reply.pop()).collect())
    }

    fn whole(body: &Value) -> Result<Vec<Event>, Error> {
        let mut reply = reply(1);
        reply.take_whole(body.to_string().as_bytes())?;
        reply.finish()?;
        Ok(std::iter::from_fn(|| reply.pop()).collect())
    }

    fn answer(events: Vec<Event>) -> Answer {
        let mut fold = Fold::default();
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
    fn content_comes_in_every_shape() {
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
    fn unfinished_has_three_spellings() {
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
    fn choices_are_told_apart_and_each_must_end() {
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
        for index in [-1, 99_999] {
            let many: Vec<_> = (0..70).map(|n| frame(index + n, "a", "null")).collect();
            assert_eq!(
                stream(1, &many).unwrap_err().reason(),
                Reason::UpstreamProtocol
            );
        }
    }

    #[test]
    fn tool_calls_come_in_pieces_by_index() {
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
    fn u20_repeated_wholes_become_pieces_in_every_text() {
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
    fn u19_what_comes_after_the_end_is_ignored_but_for_its_usage() {
        let mut end = says(json!({ "content": "hi" }), json!("stop"));
        end["usage"] = json!({ "output_tokens": 1 });
        let mut late = says(json!({ "content": "more" }), json!("length"));
        late["usage"] = json!({ "output_tokens": 2, "seconds": 1.5, "odd": [1] });
        let mut reply = reply(1);
        reply.take_frame(&frame(&end)).unwrap();
        reply.take_frame(&frame(&late)).unwrap();
        let mut error = frame(&json!({ "code": "InternalError", "message": "m" }));
        error.event = Bytes::from_static(b"error");
        reply.take_frame(&error).unwrap();
        let garbage = Frame {
            data: Bytes::from_static(b"{"),
            ..error
        };
        reply.take_frame(&garbage).unwrap();
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
        assert!(usage.raw.value("odd").is_some());
    }

    #[test]
    fn speech_comes_without_choices() {
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
        let bad = frame(json!({ "data": "not base64!" }), "null");
        assert_eq!(
            stream(1, &[bad]).unwrap_err().reason(),
            Reason::UpstreamProtocol
        );
    }

    #[test]
    fn what_has_no_field_is_kept() {
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
        assert!(choice.turn.parts[1].extra.value("image_hw").is_some());
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
    fn u18_what_is_not_an_answer_is_refused() {
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
            r#"{"output":{"choices":[]}}"#,
            r#"{"output":{"choices":[{"message":{"content":5}}]}}"#,
            r#"{"output":{"choices":[{"message":{"content":[5]}}]}}"#,
            r#"{"output":{"choices":[{"message":{"content":[{"text":5}]}}]}}"#,
            r#"{"output":{"choices":[{"finish_reason":5}]}}"#,
            r#"{"output":{"choices":[{"index":1e308}]}}"#,
            r#"{"output":{"text":"\ud800"}}"#,
            r#"{"output":{"text":"a"},"output":{"text":"b"}}"#,
        ] {
            let mut reply = reply(1);
            let error = reply.take_whole(body.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), Reason::UpstreamProtocol, "{body}");
        }
        let deep = format!(
            "{{\"output\":{{\"x\":{}1{}}}}}",
            "[".repeat(5000),
            "]".repeat(5000)
        );
        assert!(reply(1).take_whole(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_fault_in_a_body_of_success_is_one() {
        for body in [
            r#"{"code":"Arrearage","message":"m"}"#,
            r#"{"code":"Arrearage","message":"m","output":null,"usage":null}"#,
            r#"{"code":"Arrearage","message":"m","output":{}}"#,
        ] {
            let error = reply(1).take_whole(body.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), Reason::UpstreamBilling, "{body}");
            assert_eq!(error.sent(), Sent::Refused);
            assert_eq!(error.upstream().unwrap().request_id, "from-head");
        }
        let fine = r#"{"code":"","message":"","output":{"text":"a","finish_reason":"stop"}}"#;
        assert!(reply(1).take_whole(fine.as_bytes()).is_ok());
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut body = br#"{"output":{"text":""#.to_vec();
        body.extend_from_slice(b"a\xff");
        body.extend_from_slice(br#"","finish_reason":"stop"}}"#);
        let mut reply = reply(1);
        reply.take_whole(&body).unwrap();
        reply.finish().unwrap();
        let answer = answer(std::iter::from_fn(|| reply.pop()).collect());
        assert_eq!(text(&answer), "a\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in "\\PC{0,60}|[\\[\\]{}\",:a-z0-9]{0,60}") {
            let _ = reply(1).take_whole(body.as_bytes());
            let data = Frame {
                event: Bytes::new(),
                data: body.into(),
                http_status: None,
                whole: false,
            };
            let mut reply = reply(1);
            let _ = reply.take_frame(&data);
            let _ = reply.finish();
        }

        #[test]
        fn no_cut_makes_it_complete(at in 0usize..140) {
            let body = says(json!({ "content": [{ "text": "hello" }] }), json!("stop")).to_string();
            let body = body.as_bytes();
            if at < body.len() {
                let mut reply = reply(1);
                prop_assert!(reply.take_whole(&body[..at]).is_err());
            }
        }
    }
}
