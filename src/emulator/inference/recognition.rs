//! A task that recognises speech: sentences are found by energy, and reported as they grow.

use serde_json::{Map, Value, json};

use super::task_event::{invalid, result};
use super::translation::{SentenceText, Translation};
use crate::emulator::realtime::audio_format::{Encoding, PcmReader, RATES};
use crate::emulator::realtime::conversation_session::SessionContext;
use crate::emulator::realtime::hearing::{Heard, hear, undecoded};
use crate::emulator::realtime::voice_activity::{VadEvent, VadSettings, VoiceActivity};
use crate::emulator::script::wildcard;
use crate::emulator::templates::Language;
use crate::emulator::usage::{count, whole};
use crate::emulator::websocket::outbox::Outbox;
use crate::emulator::websocket::session::SocketError;

/// The models that recognise speech.
pub(super) const MODELS: [&str; 4] = ["fun-asr*", "paraformer*", "qwen*-asr*", "gummy*"];
/// Models whose usage is in tokens, cumulative.
const TOKEN_MODELS: &str = "qwen*";
/// The longest sentence that is analysed: further audio of it is dropped.
const MAX_SAMPLES: usize = 120 * 16_000;
/// Time between results of a sentence that is being spoken, in milliseconds.
const RESULT_MS: u64 = 500;
/// Time between heartbeats, in milliseconds.
const HEARTBEAT_MS: u64 = 1000;
/// Tokens per second of audio.
const TOKENS_PER_SECOND: f64 = 25.0;

/// A task.
pub(super) struct Recognition {
    id: String,
    is_in_tokens: bool,
    /// The form of results of a model that translates.
    translation: Option<Translation>,
    /// Whether further audio is ignored.
    is_over: bool,
    encoding: Encoding,
    rate: u32,
    settings: VadSettings,
    language: Language,
    has_heartbeat: bool,
    heartbeat_ms: u64,
    reader: PcmReader,
    vad: VoiceActivity,
    samples: Vec<i16>,
    compressed: usize,
    sentence: Option<Sentence>,
    sentences: usize,
    seconds: f64,
    text_tokens: u64,
}

/// A sentence that has begun.
struct Sentence {
    begin_ms: u64,
    result_ms: u64,
}

impl Recognition {
    /// A task with these parameters.
    ///
    /// # Errors
    ///
    /// If one is invalid.
    pub(super) fn new(
        id: String,
        model: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Self, SocketError> {
        let name = parameters.get("format").and_then(Value::as_str);
        let encoding = name.and_then(Encoding::of);
        let encoding = encoding.ok_or_else(|| invalid("Invalid parameter: format."))?;
        let number = |name: &str| parameters.get(name).and_then(Value::as_u64);
        let rate = number("sample_rate").and_then(|rate| u32::try_from(rate).ok());
        let rate = rate.filter(|rate| RATES.contains(rate));
        let rate = rate.ok_or_else(|| invalid("Invalid parameter: sample_rate."))?;
        let translation = Translation::of(model, parameters)?;
        let hints = parameters.get("language_hints");
        let is_english = hints.and_then(|hints| hints.get(0)) == Some(&json!("en"));
        let language = match (&translation, is_english) {
            (Some(translation), _) => translation.source,
            (None, true) => Language::English,
            (None, false) => Language::Chinese,
        };
        let silence = number("max_sentence_silence").or(number("max_end_silence"));
        Ok(Self {
            id,
            is_in_tokens: wildcard(TOKEN_MODELS, model),
            translation,
            is_over: false,
            encoding,
            rate,
            settings: VadSettings {
                threshold: 0.5,
                silence_ms: silence.unwrap_or(800).clamp(200, 6000),
            },
            language,
            has_heartbeat: parameters.get("heartbeat") == Some(&json!(true)),
            heartbeat_ms: HEARTBEAT_MS,
            reader: PcmReader::default(),
            vad: VoiceActivity::new(rate),
            samples: Vec::new(),
            compressed: 0,
            sentence: None,
            sentences: 0,
            seconds: 0.0,
            text_tokens: 0,
        })
    }

    /// Takes audio.
    pub(super) async fn audio(&mut self, bytes: &[u8], context: &SessionContext, out: &mut Outbox) {
        if self.encoding == Encoding::Compressed {
            self.compressed += bytes.len();
            return;
        }
        let samples = self.reader.samples(bytes);
        let mut rest = samples.as_slice();
        while !rest.is_empty() && !self.is_over {
            let (taken, event) = self.vad.take(rest, self.settings);
            let (now, later) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            if self.samples.len() < MAX_SAMPLES {
                self.samples.extend(now);
            }
            rest = later;
            match event {
                Some(VadEvent::Started(ms)) => self.begin(ms, out),
                Some(VadEvent::Stopped(ms)) => {
                    let end = ms.saturating_sub(self.settings.silence_ms);
                    self.end(end, context, out).await;
                }
                None => self.goes_on(out),
            }
        }
    }

    /// Ends the last sentence.
    pub(super) async fn finish(&mut self, context: &SessionContext, out: &mut Outbox) {
        if self.compressed > 0 {
            self.sentences += 1;
            let compressed = self.compressed;
            self.report(
                0,
                Some(0),
                &|language| undecoded(compressed, language).transcript,
                out,
            );
        }
        self.vad.stop();
        self.end(self.vad.position_ms(), context, out).await;
    }

    fn begin(&mut self, ms: u64, out: &mut Outbox) {
        let kept = self.vad.position_ms().saturating_sub(ms) * u64::from(self.rate) / 1000;
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let excess = self.samples.len().saturating_sub(kept);
        self.samples.drain(..excess);
        self.sentences += 1;
        self.sentence = Some(Sentence {
            begin_ms: ms,
            result_ms: ms + RESULT_MS,
        });
        if self.translation.is_none() {
            self.report(ms, None, &|_| String::new(), out);
        }
    }

    fn goes_on(&mut self, out: &mut Outbox) {
        let position = self.vad.position_ms();
        if let Some(sentence) = &mut self.sentence {
            let begin = sentence.begin_ms;
            if position >= sentence.result_ms {
                sentence.result_ms = position + RESULT_MS;
                let tenths = position.saturating_sub(begin) / 100;
                let (whole, tenth) = (tenths / 10, tenths % 10);
                self.report(begin, None, &|_| format!("{whole}.{tenth}"), out);
            }
            return;
        }
        // Only what may be the beginning of a sentence is kept.
        let kept = usize::try_from(self.rate / 10).unwrap_or(1600);
        let excess = self.samples.len().saturating_sub(kept);
        if excess > kept {
            self.samples.drain(..excess);
        }
        if self.has_heartbeat && position >= self.heartbeat_ms {
            self.heartbeat_ms = position + HEARTBEAT_MS;
            let sentence = json!({"begin_time": 0, "end_time": null, "text": "",
                "heartbeat": true, "sentence_end": false, "sentence_id": 0, "words": []});
            result(
                &self.id,
                &json!({ "sentence": sentence }),
                &Value::Null,
                out,
            );
        }
    }

    async fn end(&mut self, end_ms: u64, context: &SessionContext, out: &mut Outbox) {
        let Some(sentence) = self.sentence.take() else {
            return;
        };
        let mut samples = std::mem::take(&mut self.samples);
        let length = u32::try_from(samples.len()).map_or(0.0, f64::from);
        self.seconds += length / f64::from(self.rate.max(1));
        // The silence that ended the sentence is no part of what is heard.
        let silence_ms = self.vad.position_ms().saturating_sub(end_ms);
        let silence = silence_ms * u64::from(self.rate) / 1000;
        let silence = usize::try_from(silence).unwrap_or(usize::MAX);
        samples.truncate(samples.len().saturating_sub(silence));
        let mut texts = Vec::new();
        for language in [Language::Chinese, Language::English] {
            let is_reported = match &self.translation {
                Some(translation) => translation.reports(language),
                None => self.language == language,
            };
            if is_reported {
                let heard = self.heard(samples.clone(), language, context).await;
                self.text_tokens += count(&heard.transcript);
                texts.push((language, heard.transcript));
            }
        }
        let text = |wanted| {
            let text = texts.iter().find(|(language, _)| *language == wanted);
            text.map(|(_, text)| text.clone()).unwrap_or_default()
        };
        self.report(sentence.begin_ms, Some(end_ms), &text, out);
        self.is_over = self
            .translation
            .as_ref()
            .is_some_and(|of| of.has_one_sentence);
    }

    async fn heard(
        &self,
        samples: Vec<i16>,
        language: Language,
        context: &SessionContext,
    ) -> Heard {
        let scripted = &context.rule.transcripts;
        let index = self.sentences.saturating_sub(1);
        let length = u32::try_from(samples.len()).map_or(0.0, f64::from);
        match scripted.get(index).or(scripted.last()) {
            Some(transcript) => Heard {
                seconds: length / f64::from(self.rate.max(1)),
                transcript: transcript.clone(),
            },
            None => hear(&context.permits, samples, self.rate, language).await,
        }
    }

    /// Reports a sentence. Without an end, its text may change.
    fn report(
        &self,
        begin: u64,
        end: Option<u64>,
        text: &dyn Fn(Language) -> String,
        out: &mut Outbox,
    ) {
        let seconds = json!({"duration": whole(self.seconds)});
        if let Some(translation) = &self.translation {
            let output = translation.output(&SentenceText {
                id: self.sentences.saturating_sub(1),
                begin,
                end,
                now: self.vad.position_ms(),
                text,
                words,
            });
            let usage = end.map_or(Value::Null, |_| seconds);
            return result(&self.id, &output, &usage, out);
        }
        let text = text(self.language);
        let text = text.as_str();
        let mut sentence = json!({"begin_time": begin, "end_time": end, "text": text,
            "heartbeat": false, "sentence_end": end.is_some(), "sentence_id": self.sentences,
            "words": words(begin, end.unwrap_or(self.vad.position_ms()), text)});
        if let Some(fields) = sentence.as_object_mut().filter(|_| text.is_empty()) {
            fields.insert("sentence_begin".into(), json!(true));
        }
        let usage = match (self.is_in_tokens, end) {
            (true, _) => {
                let input = whole(self.seconds * TOKENS_PER_SECOND);
                json!({"input_tokens": input, "output_tokens": self.text_tokens,
                    "total_tokens": input + self.text_tokens})
            }
            (false, Some(_)) => seconds,
            (false, None) => Value::Null,
        };
        result(&self.id, &json!({ "sentence": sentence }), &usage, out);
    }
}

/// The words of a text, which share its time equally; punctuation belongs to the word before it.
fn words(begin: u64, end: u64, text: &str) -> Vec<Value> {
    let count = u64::try_from(text.split_whitespace().count()).unwrap_or(1);
    let each = end.saturating_sub(begin) / count.max(1);
    let word = |(index, word): (u64, &str)| {
        let letters = word.trim_end_matches(['。', '，', '.', ',']);
        let punctuation = word.get(letters.len()..).unwrap_or_default();
        let from = begin + index * each;
        json!({"begin_time": from, "end_time": from + each, "text": letters,
            "punctuation": punctuation})
    };
    (0..).zip(text.split_whitespace()).map(word).collect()
}
