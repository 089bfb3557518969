//! A task that speaks text, which arrives in pieces.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::task_event::{finished, invalid, result};
use crate::emulator::realtime::audio_format::{
    RATES, SpeechEncoding, SpeechFormat, encode, resample,
};
use crate::emulator::realtime::response::Pace;
use crate::emulator::realtime::sentences::take_sentences;
use crate::emulator::speech_synthesis::synthesize;
use crate::emulator::usage::characters;
use crate::emulator::websocket::outbox::Outbox;
use crate::emulator::websocket::session::SocketError;

/// The models that speak.
pub(super) const MODELS: [&str; 3] = ["cosyvoice*", "sambert*", "qwen*-tts*"];
/// The documented most characters of one command.
const MAX_CHARACTERS: usize = 20_000;
/// The documented most characters of a task.
const MAX_TASK_CHARACTERS: usize = 200_000;
/// The most characters of a sentence; a longer one is spoken as several.
const SENTENCE_CHARACTERS: usize = 200;
/// The rate where none is given.
const DEFAULT_RATE: u32 = 22_050;

/// A task.
pub(super) struct Synthesis {
    id: String,
    voice: String,
    format: SpeechFormat,
    pace: Pace,
    text: String,
    /// Sentences that were not begun.
    waiting: String,
    total: usize,
    billed: usize,
    index: u64,
    steps: VecDeque<Step>,
    due: Instant,
    has_spoken: bool,
    is_finishing: bool,
}

enum Step {
    Result(&'static str, Value),
    Audio(Vec<i16>),
}

impl Synthesis {
    /// A task with these parameters.
    ///
    /// # Errors
    ///
    /// If one is invalid.
    pub(super) fn new(
        id: String,
        parameters: &Map<String, Value>,
        pace: Pace,
    ) -> Result<Self, SocketError> {
        let text = |name: &str| parameters.get(name).and_then(Value::as_str);
        let encoding = match text("format") {
            // The SDK's own default leaves the choice to the server.
            None | Some("Default") => SpeechEncoding::Wav,
            Some(name) => SpeechEncoding::of(name)
                .map_err(|why| invalid(format!("Invalid parameter: format '{name}': {why}.")))?,
        };
        let rate = parameters.get("sample_rate").and_then(Value::as_u64);
        let rate = match rate.filter(|rate| *rate > 0) {
            None => DEFAULT_RATE,
            Some(rate) => u32::try_from(rate)
                .ok()
                .filter(|rate| RATES.contains(rate))
                .ok_or_else(|| invalid("Invalid parameter: sample_rate."))?,
        };
        Ok(Self {
            id,
            voice: text("voice").unwrap_or("longxiaochun").to_owned(),
            format: SpeechFormat { encoding, rate },
            pace,
            text: String::new(),
            waiting: String::new(),
            total: 0,
            billed: 0,
            index: 0,
            steps: VecDeque::new(),
            due: Instant::now(),
            has_spoken: false,
            is_finishing: false,
        })
    }

    /// Takes text.
    ///
    /// # Errors
    ///
    /// If it is too long.
    pub(super) fn append(&mut self, text: &str) -> Result<(), SocketError> {
        let length = text.chars().count();
        self.total += length;
        if length > MAX_CHARACTERS || self.total > MAX_TASK_CHARACTERS {
            return Err(invalid("The text is too long."));
        }
        self.text.push_str(text);
        self.waiting.push_str(&take_sentences(&mut self.text));
        self.begin();
        Ok(())
    }

    /// Speaks what has arrived so far, whether it is a sentence or not.
    pub(super) fn flush(&mut self) {
        self.waiting.push_str(&std::mem::take(&mut self.text));
        self.begin();
    }

    /// No more text comes.
    pub(super) fn finish(&mut self) {
        self.flush();
        self.is_finishing = true;
    }

    /// Ends the task at once.
    pub(super) fn cancel(&mut self) {
        self.steps.clear();
        self.waiting.clear();
        self.text.clear();
        self.is_finishing = true;
    }

    /// When the next piece is to be sent.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.steps.is_empty()).then_some(self.due)
    }

    /// Sends the pieces that are due. True if the task is over.
    pub(super) fn advance(&mut self, out: &mut Outbox) -> bool {
        let now = Instant::now();
        while self.due <= now || matches!(self.steps.front(), Some(Step::Result(..))) {
            match self.steps.pop_front() {
                None => break,
                Some(Step::Result(kind, usage)) => {
                    let output = json!({"sentence": {"index": self.index, "words": []},
                        "type": kind});
                    result(&self.id, &output, &usage, out);
                    self.index += u64::from(kind == "sentence-end");
                }
                Some(Step::Audio(samples)) => {
                    let is_first = !std::mem::replace(&mut self.has_spoken, true);
                    let audio: Bytes = encode(self.format, &samples, is_first);
                    out.binary(audio);
                    self.due = now + self.pace.between.max(Duration::from_millis(1));
                }
            }
            self.begin();
        }
        let is_over = self.is_finishing && self.steps.is_empty() && self.waiting.is_empty();
        if is_over {
            let usage = json!({"characters": self.billed});
            finished(&self.id, &json!({"sentence": {"words": []}}), &usage, out);
        }
        is_over
    }

    /// Begins the next sentence, if none is being spoken.
    fn begin(&mut self) {
        if !self.steps.is_empty() || self.waiting.is_empty() {
            return;
        }
        let end = self.waiting.char_indices().nth(SENTENCE_CHARACTERS);
        let rest = end.map(|(end, _)| self.waiting.split_off(end));
        let text = std::mem::replace(&mut self.waiting, rest.unwrap_or_default());
        let samples = resample(synthesize(&text, &self.voice), self.format.rate);
        self.steps
            .push_back(Step::Result("sentence-begin", Value::Null));
        let size = usize::try_from(self.format.rate / 10).unwrap_or(1).max(1);
        let pieces = samples
            .chunks(size)
            .map(|piece| Step::Audio(piece.to_vec()));
        self.steps.extend(pieces);
        self.billed += characters(&text);
        let usage = json!({"characters": characters(&text)});
        self.steps.push_back(Step::Result("sentence-end", usage));
        self.due = Instant::now() + self.pace.first;
    }
}
