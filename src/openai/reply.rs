//! The decoder of one answer in OpenAI's form.

use super::answer::CompletionReader;
use super::dialect::Dialect;
use super::transcript::LanguagePrefix;
use crate::dashscope::reply::{Opening, Reply};

/// A decoder at the start of an answer of this kind of server. `has_audio` is whether a spoken
/// answer was requested.
pub fn reply(opening: Opening, has_audio: bool, dialect: &'static Dialect) -> Reply {
    let language = LanguagePrefix::of(dialect, has_audio);
    let reader = CompletionReader::new(opening.choices, has_audio, language);
    Reply::new(opening).with_reader(Box::new(reader))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::answer::{Answer, AnswerBuilder};
    use crate::chat::event::Event;
    use crate::chat::media::Source;
    use crate::chat::message::Body;
    use crate::dashscope::TextForm;
    use crate::dashscope::sse::{Decoder, Limits};
    use crate::error::{Error, Reason};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    const DIALECTS: [&Dialect; 5] = [
        Dialect::DASHSCOPE,
        Dialect::OPENAI,
        Dialect::VLLM,
        Dialect::SGLANG,
        Dialect::SGLANG_OMNI,
    ];

    /// Where a server has its audio.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Place {
        Nowhere,
        /// `audio{data}` of a message.
        Message,
        /// The content of events with a modality.
        Content,
    }

    /// Where a server has its counts.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Counts {
        Missing,
        Last,
        Alone,
        Everywhere,
    }

    /// An answer, and how it is sent.
    #[derive(Clone, Debug)]
    struct Sent {
        dialect: usize,
        texts: Vec<String>,
        thoughts: Vec<String>,
        audio: Vec<Vec<u8>>,
        place: Place,
        counts: Counts,
        tokens: (i32, i32),
        finish: &'static str,
        has_done: bool,
        line_end: &'static str,
        /// Decides the order of keys and events.
        order: u64,
        /// The lengths of the chunks in which the bytes come.
        cuts: Vec<usize>,
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let word = prop_oneof![
            Just("language".to_owned()),
            Just("language English<asr_text>".to_owned()),
            Just(" ".to_owned()),
            Just("\"\\\u{1F3B5}\n".to_owned()),
            "[a-z<_ ]{0,6}",
            any::<String>(),
        ];
        let place = prop_oneof![
            Just(Place::Nowhere),
            Just(Place::Message),
            Just(Place::Content)
        ];
        let counts = prop_oneof![
            Just(Counts::Missing),
            Just(Counts::Last),
            Just(Counts::Alone),
            Just(Counts::Everywhere),
        ];
        let finish = prop_oneof![Just("stop"), Just("length"), Just("tool_calls")];
        let line_end = prop_oneof![Just("\n"), Just("\r\n")];
        let bytes = proptest::collection::vec(any::<u8>(), 1..20);
        (
            (
                0..DIALECTS.len(),
                proptest::collection::vec(word.clone(), 0..6),
            ),
            proptest::collection::vec(word, 0..3),
            (proptest::collection::vec(bytes, 0..4), place),
            (counts, (1..1000, 1..1000)),
            (finish, any::<bool>(), line_end),
            (any::<u64>(), proptest::collection::vec(1..80_usize, 1..8)),
        )
            .prop_map(|(first, thoughts, audio, counts, finish, last)| Sent {
                dialect: first.0,
                texts: first.1,
                thoughts,
                audio: if audio.1 == Place::Nowhere {
                    Vec::new()
                } else {
                    audio.0
                },
                place: audio.1,
                counts: counts.0,
                tokens: counts.1,
                finish: finish.0,
                has_done: finish.1,
                line_end: finish.2,
                order: last.0,
                cuts: last.1,
            })
    }

    /// Pseudorandom numbers below a limit.
    struct Order(u64);

    impl Order {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695);
            usize::try_from(self.0 >> 33).unwrap() % limit
        }

        /// The same JSON with its keys in another order.
        fn shuffled(&mut self, value: Value) -> Value {
            match value {
                Value::Object(object) => {
                    let mut entries: Vec<_> = object.into_iter().collect();
                    for last in (1..entries.len()).rev() {
                        let other = self.below(last + 1);
                        entries.swap(last, other);
                    }
                    let entries = entries.into_iter();
                    let entries = entries.map(|(key, value)| (key, self.shuffled(value)));
                    Value::Object(entries.collect::<Map<_, _>>())
                }
                Value::Array(items) => items.into_iter().map(|item| self.shuffled(item)).collect(),
                plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                    plain
                }
            }
        }
    }

    impl Sent {
        /// The samples begin with a small one, so that they are no file.
        fn samples(&self) -> Vec<Vec<u8>> {
            let mut all = self.audio.clone();
            if let Some(first) = all.first_mut() {
                first.insert(0, 1);
            }
            all
        }

        fn usage(&self, output: i32) -> Value {
            json!({"prompt_tokens": self.tokens.0, "completion_tokens": output})
        }

        fn body(&self, delta: &Value, modality: Option<&str>) -> Value {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": null});
            let mut body = json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
                "choices": [choice]});
            if let Some(modality) = modality.filter(|_| self.place == Place::Content) {
                body["modality"] = json!(modality);
            }
            if self.counts == Counts::Everywhere {
                body["usage"] = self.usage(1);
            }
            body
        }

        /// The events in an order in which a server may send them.
        fn bodies(&self, order: &mut Order) -> Vec<Value> {
            let key = if order.below(2) == 0 {
                "reasoning"
            } else {
                "reasoning_content"
            };
            let thoughts = self.thoughts.iter();
            let mut bodies: Vec<Value> = thoughts
                .map(|text| self.body(&json!({ key: text }), Some("text")))
                .collect();
            let text = |text: &String| self.body(&json!({ "content": text }), Some("text"));
            let mut texts: Vec<Value> = self.texts.iter().map(text).collect();
            let audio = |bytes: &Vec<u8>| {
                let data = STANDARD.encode(bytes);
                match self.place {
                    Place::Content => self.body(&json!({ "content": data }), Some("audio")),
                    Place::Nowhere | Place::Message => {
                        self.body(&json!({"audio": {"id": "a", "data": data}}), None)
                    }
                }
            };
            let mut audio: Vec<Value> = self.samples().iter().map(audio).collect();
            texts.reverse();
            audio.reverse();
            while !texts.is_empty() || !audio.is_empty() {
                let next = if order.below(2) == 0 {
                    &mut texts
                } else {
                    &mut audio
                };
                bodies.extend(next.pop());
            }
            let mut last = self.body(&json!({}), Some("text"));
            last["choices"][0]["finish_reason"] = json!(self.finish);
            match self.counts {
                Counts::Last | Counts::Everywhere => last["usage"] = self.usage(self.tokens.1),
                Counts::Missing | Counts::Alone => {}
            }
            bodies.push(last);
            if self.counts == Counts::Alone {
                let usage = self.usage(self.tokens.1);
                bodies.push(json!({"id": "c", "choices": [], "usage": usage}));
            }
            bodies
                .into_iter()
                .map(|body| order.shuffled(body))
                .collect()
        }

        fn stream(&self) -> Vec<u8> {
            let mut order = Order(self.order);
            let (mut text, end) = (String::new(), self.line_end);
            for body in self.bodies(&mut order) {
                if order.below(4) == 0 {
                    text.push_str(&format!(": comment{end}{end}"));
                }
                let space = if order.below(2) == 0 { " " } else { "" };
                text.push_str(&format!("data:{space}{body}{end}{end}"));
            }
            if self.has_done {
                text.push_str(&format!("data: [DONE]{end}{end}"));
            }
            text.into_bytes()
        }

        fn reply(&self) -> Reply {
            let opening = Opening {
                choices: 1,
                form: TextForm::Pieces,
                ..Opening::default()
            };
            reply(
                opening,
                self.place != Place::Nowhere,
                DIALECTS[self.dialect],
            )
        }

        /// The text and the language.
        fn expected(&self) -> (String, Option<&str>) {
            let text = self.texts.concat();
            // Models that recognise speech neither think nor speak.
            let is_own = DIALECTS[self.dialect].is_dashscope();
            let is_other = is_own
                || self.place != Place::Nowhere
                || self.thoughts.iter().any(|text| !text.is_empty());
            match text
                .strip_prefix("language English<asr_text>")
                .filter(|_| !is_other)
            {
                Some(rest) => (rest.to_owned(), Some("en")),
                None => (text, None),
            }
        }
    }

    fn read(reply: &mut Reply, bytes: &[u8], cuts: &[usize]) -> Result<Answer, Error> {
        let mut decoder = Decoder::new(Limits {
            line_bytes: 1 << 16,
            event_bytes: 1 << 16,
        });
        let mut rest = bytes;
        let mut cuts = cuts.iter().cycle();
        let next = |decoder: &mut Decoder, reply: &mut Reply| {
            while let Ok(Some(frame)) = decoder.next() {
                reply.push_frame(&frame)?;
            }
            Ok::<_, Error>(())
        };
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            decoder.push(Bytes::copy_from_slice(chunk));
            next(&mut decoder, reply)?;
            rest = after;
        }
        decoder.end();
        next(&mut decoder, reply)?;
        reply.finish_body(true)?;
        Ok(answer(reply))
    }

    /// The answer, and the contract of its events.
    fn answer(reply: &mut Reply) -> Answer {
        let mut builder = AnswerBuilder::default();
        let events: Vec<Event> = std::iter::from_fn(|| reply.pop()).collect();
        assert!(
            matches!(events.first(), Some(Event::Started(_))),
            "{events:?}"
        );
        let mut answers = events.into_iter().filter_map(|event| builder.push(event));
        let answer = answers.next().expect("an end");
        assert!(answers.next().is_none());
        answer
    }

    /// The text, the reasoning, the audio, and the language of the only choice.
    fn content(answer: &Answer) -> (String, String, Vec<u8>, Option<String>) {
        let [choice] = &answer.choices[..] else {
            panic!("{answer:?}");
        };
        let (mut text, mut audio) = (String::new(), Vec::new());
        for part in &choice.turn.parts {
            match &part.body {
                Body::Text(more) => text.push_str(more),
                Body::Audio(more) => match &more.medium.as_ref().unwrap().source {
                    Source::Inline(bytes) => audio.extend_from_slice(bytes),
                    Source::Uri(uri) => panic!("{uri}"),
                },
                Body::Image(_) | Body::Video(_) | Body::Other => panic!("{part:?}"),
            }
        }
        let language = choice
            .turn
            .annotations
            .first()
            .map(|note| note.language.clone());
        (text, choice.turn.reasoning.clone(), audio, language)
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_in_any_order_of_keys_and_chunks(sent in sent()) {
            let got = read(&mut sent.reply(), &sent.stream(), &sent.cuts).unwrap();
            let (text, language) = sent.expected();
            let language = language.map(str::to_owned);
            let expected = (text, sent.thoughts.concat(), sent.samples().concat(), language);
            prop_assert_eq!(content(&got), expected);
            prop_assert_eq!(&got.choices[0].finish_reason, sent.finish);
            prop_assert!(got.warnings.is_empty(), "{:?}", got.warnings);
            let usage = got.usage.map(|usage| (usage.input_tokens, usage.output_tokens));
            let (input, output) = sent.tokens;
            let counted = (sent.counts != Counts::Missing).then_some((Some(input), Some(output)));
            prop_assert_eq!(usage, counted);
        }

        #[test]
        fn a_whole_answer_is_that_of_the_stream(sent in sent()) {
            let audio = STANDARD.encode(sent.samples().concat());
            let mut message = json!({"role": "assistant", "content": sent.texts.concat(),
                "reasoning_content": sent.thoughts.concat()});
            if !audio.is_empty() {
                message["audio"] = json!({"id": "a", "data": audio});
            }
            let choice = json!({"index": 0, "message": message, "finish_reason": sent.finish});
            let body = json!({"id": "c", "choices": [choice], "usage": sent.usage(7)});
            let body = Order(sent.order).shuffled(body).to_string();
            let mut whole = sent.reply();
            whole.push_whole(body.as_bytes()).unwrap();
            whole.finish().unwrap();
            let whole = answer(&mut whole);
            let streamed = read(&mut sent.reply(), &sent.stream(), &sent.cuts).unwrap();
            prop_assert_eq!(content(&whole), content(&streamed));
            prop_assert_eq!(whole.usage.unwrap().output_tokens, Some(7));
        }

        #[test]
        fn a_damaged_answer_is_read_or_an_error_of_the_server(
            sent in sent(),
            damages in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3), 0..6),
            length in any::<usize>(),
        ) {
            let mut bytes = sent.stream();
            for (at, byte, kind) in damages {
                let at = at % bytes.len();
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.drain(at..(at + 20).min(bytes.len() - 1).max(at))),
                }
            }
            bytes.truncate(length % (bytes.len() + 1));
            for whole in [false, true] {
                let mut reply = sent.reply();
                let read = match whole {
                    true => {
                        let pushed = reply.push_whole(&bytes).and_then(|()| reply.finish());
                        pushed.map(|()| answer(&mut reply))
                    }
                    false => read(&mut reply, &bytes, &sent.cuts),
                };
                let reasons = [
                    Reason::StreamTruncated,
                    Reason::UpstreamProtocol,
                    Reason::UpstreamUnknown,
                ];
                if let Err(error) = read {
                    prop_assert!(reasons.contains(&error.reason()), "{:?}", error);
                }
            }
        }
    }
}
