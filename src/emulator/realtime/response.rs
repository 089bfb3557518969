//! A response that is being sent, as steps: events, and pieces of text and audio, each at its time.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::audio_format::{SpeechFormat, encode};
use crate::emulator::usage::{count, whole};
use crate::emulator::websocket::outbox::Outbox;

/// One step of a response.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// An event that is sent as it is.
    Event(&'static str, Value),
    /// An item begins: an event, and the item.
    ItemAdded(Value),
    /// The item ends: an event with the item, and the item as the response lists it.
    ItemDone(Value, Value),
    /// A piece of the text.
    Text(String),
    /// Samples of the audio.
    Audio(Range<usize>),
    /// The text is complete.
    TextDone,
    /// The response is complete.
    Done,
}

/// How the text of a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextForm {
    /// As deltas of `response.text`.
    Text,
    /// As deltas of `response.audio_transcript`.
    Transcript,
    /// As whole texts of `response.text`.
    TextSnapshots,
    /// As whole texts of `response.audio_transcript`.
    TranscriptSnapshots,
    /// Not at all.
    Unsent,
}

impl TextForm {
    /// The type of the content part in events, and the field of its text in the response.
    pub(super) fn part(self) -> (&'static str, &'static str) {
        match self {
            Self::Text | Self::TextSnapshots => ("text", "text"),
            Self::Transcript | Self::TranscriptSnapshots | Self::Unsent => ("audio", "transcript"),
        }
    }
}

/// When the steps of a response are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::emulator) struct Pace {
    /// The time before the first piece.
    pub(in crate::emulator) first: Duration,
    /// The time between pieces.
    pub(in crate::emulator) between: Duration,
}

/// What the usage of a response counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsageCounts {
    /// Tokens, by modality.
    Tokens(TokenCounts),
    /// Characters of the text that is spoken.
    Characters(usize),
}

/// The tokens of the input and of the tool calls. Those of text and audio are counted as they are
/// sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenCounts {
    /// Texts of the input.
    pub(super) text: u64,
    /// Audio of the input.
    pub(super) audio: u64,
    /// Images of the input.
    pub(super) image: u64,
    /// Tool calls of the output.
    pub(super) calls: u64,
    /// Tokens per second of audio, times ten.
    pub(super) audio_rate: u32,
}

/// Everything that a response is made of.
#[derive(Debug)]
pub(super) struct ResponseParts {
    /// Its id.
    pub(super) id: String,
    /// Its fields in `response.created`.
    pub(super) fields: Map<String, Value>,
    /// What is counted of it.
    pub(super) usage: UsageCounts,
    /// The steps after `response.created`.
    pub(super) steps: VecDeque<Step>,
    /// The samples of its audio.
    pub(super) samples: Vec<i16>,
    /// The format of its audio.
    pub(super) format: SpeechFormat,
    /// The form of its text.
    pub(super) text_form: TextForm,
    /// When it is sent.
    pub(super) pace: Pace,
}

/// A response that is being sent.
#[derive(Debug)]
pub(super) struct Response {
    parts: ResponseParts,
    due: Instant,
    text: String,
    item: Option<Value>,
    output: Vec<Value>,
    sent_samples: usize,
}

/// Why a response is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    /// By the client; without `response.done` if the model sends none.
    Client {
        /// Whether it ends with `response.done`.
        is_done: bool,
    },
    /// By speech; a late piece of audio follows.
    Speech,
}

impl Response {
    /// Starts a response: sends everything before its first piece.
    pub(super) fn start(parts: ResponseParts, out: &mut Outbox) -> Self {
        out.event("response.created", json!({"response": parts.fields}));
        let mut response = Self {
            due: Instant::now() + parts.pace.first,
            parts,
            text: String::new(),
            item: None,
            output: Vec::new(),
            sent_samples: 0,
        };
        response.send_events(out);
        response
    }

    /// When the next piece is to be sent.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether everything was sent.
    pub(super) fn is_over(&self) -> bool {
        self.parts.steps.is_empty()
    }

    /// Whether audio was sent.
    pub(super) fn has_sent_audio(&self) -> bool {
        self.sent_samples > 0
    }

    /// Sends the next piece, and the events after it.
    pub(super) fn advance(&mut self, out: &mut Outbox) {
        if let Some(step) = self.parts.steps.pop_front() {
            self.send(step, out);
        }
        self.send_events(out);
        self.due = Instant::now() + self.parts.pace.between;
    }

    /// Ends the response before its time.
    pub(super) fn cancel(mut self, reason: Cancel, out: &mut Outbox) {
        if let Some(mut item) = self.item.take() {
            set(&mut item, "status", json!("incomplete"));
            let mut listed = item.clone();
            if item.get("content").is_some() {
                let (part, field) = self.parts.text_form.part();
                set(
                    &mut item,
                    "content",
                    json!([{"type": part, "text": self.text}]),
                );
                set(
                    &mut listed,
                    "content",
                    json!([{"type": part, field: self.text}]),
                );
            }
            let index = self.output.len();
            self.output.push(listed);
            let fields = json!({"response_id": self.parts.id, "output_index": index,
                "item": item});
            out.event("response.output_item.done", fields);
        }
        let by = match reason {
            Cancel::Client { is_done: false } => return,
            Cancel::Client { is_done: true } => "client_cancelled",
            Cancel::Speech => "turn_detected",
        };
        let details = json!({"type": "cancelled", "reason": by});
        let mut done = self.response("cancelled");
        done.insert("status_details".into(), details);
        out.event("response.done", json!({"response": done}));
        let late = self.parts.steps.iter().find_map(|step| match step {
            Step::Audio(range) => Some(range.clone()),
            Step::Event(..)
            | Step::ItemAdded(_)
            | Step::ItemDone(..)
            | Step::Text(_)
            | Step::TextDone
            | Step::Done => None,
        });
        if let (Some(late), Some(Cancel::Speech)) = (late, Some(reason)) {
            self.item = self.output.last().cloned();
            self.send(Step::Audio(late), out);
        }
    }

    /// Sends the steps up to the next piece of text or audio.
    fn send_events(&mut self, out: &mut Outbox) {
        let is_piece = |step: &Step| matches!(step, Step::Text(_) | Step::Audio(_));
        while let Some(step) = self.parts.steps.pop_front_if(|step| !is_piece(step)) {
            self.send(step, out);
        }
    }

    fn send(&mut self, step: Step, out: &mut Outbox) {
        match step {
            Step::Event(kind, fields) => out.event(kind, fields),
            Step::ItemAdded(item) => {
                let index = self.output.len();
                let fields = json!({"response_id": self.parts.id, "output_index": index,
                    "item": item});
                out.event("response.output_item.added", fields);
                self.item = Some(item);
            }
            Step::ItemDone(item, listed) => {
                let index = self.output.len();
                let fields = json!({"response_id": self.parts.id, "output_index": index,
                    "item": item});
                out.event("response.output_item.done", fields);
                self.output.push(listed);
                self.item = None;
            }
            Step::Text(piece) => {
                self.text.push_str(&piece);
                self.send_text(&piece, out);
            }
            Step::Audio(range) => {
                let is_first = self.sent_samples == 0;
                let samples = self.parts.samples.get(range).unwrap_or_default();
                self.sent_samples += samples.len();
                let audio = STANDARD.encode(encode(self.parts.format, samples, is_first));
                self.part_event("response.audio.delta", "delta", &audio, out);
            }
            Step::TextDone => {
                let (kind, field) = match self.parts.text_form {
                    TextForm::Text | TextForm::TextSnapshots => ("response.text.done", "text"),
                    TextForm::Transcript | TextForm::TranscriptSnapshots => {
                        ("response.audio_transcript.done", "transcript")
                    }
                    TextForm::Unsent => return,
                };
                self.part_event(kind, field, &self.text, out);
            }
            Step::Done => {
                let response = self.response("completed");
                out.event("response.done", json!({"response": response}));
            }
        }
    }

    fn send_text(&self, piece: &str, out: &mut Outbox) {
        let snapshot = |kind: &str, out: &mut Outbox| {
            let mut fields = self.place();
            set(&mut fields, "text", json!(self.text));
            set(&mut fields, "stash", json!(""));
            out.event(kind, fields);
        };
        match self.parts.text_form {
            TextForm::Text => self.part_event("response.text.delta", "delta", piece, out),
            TextForm::Transcript => {
                self.part_event("response.audio_transcript.delta", "delta", piece, out);
            }
            TextForm::TextSnapshots => snapshot("response.text.text", out),
            TextForm::TranscriptSnapshots => snapshot("response.audio_transcript.text", out),
            TextForm::Unsent => {}
        }
    }

    /// The fields that say to which part of which item an event belongs.
    fn place(&self) -> Value {
        let item = self.item.as_ref().and_then(|item| item.get("id"));
        json!({"response_id": self.parts.id, "item_id": item,
            "output_index": self.output.len(), "content_index": 0})
    }

    fn part_event(&self, kind: &str, name: &str, value: &str, out: &mut Outbox) {
        let mut fields = self.place();
        set(&mut fields, name, json!(value));
        out.event(kind, fields);
    }

    /// The response at its end.
    fn response(&self, status: &str) -> Map<String, Value> {
        let mut response = self.parts.fields.clone();
        response.insert("status".into(), json!(status));
        response.insert("output".into(), json!(self.output));
        response.insert("modalities".into(), self.modalities());
        response.insert("usage".into(), self.usage());
        response
    }

    fn modalities(&self) -> Value {
        let known = self.parts.fields.get("modalities").cloned();
        known.unwrap_or_else(|| json!(["text", "audio"]))
    }

    fn usage(&self) -> Value {
        let counts = match self.parts.usage {
            UsageCounts::Characters(characters) => return json!({ "characters": characters }),
            UsageCounts::Tokens(counts) => counts,
        };
        let samples = u32::try_from(self.sent_samples).map_or(0.0, f64::from);
        let seconds = samples / f64::from(self.parts.format.rate.max(1));
        let audio = whole(seconds * f64::from(counts.audio_rate) / 10.0);
        let text = count(&self.text) + counts.calls;
        let (input, output) = (counts.text + counts.audio + counts.image, text + audio);
        let mut given = json!({"text_tokens": counts.text, "audio_tokens": counts.audio});
        if counts.image > 0 {
            set(&mut given, "image_tokens", json!(counts.image));
        }
        json!({"total_tokens": input + output, "input_tokens": input, "output_tokens": output,
            "input_tokens_details": given,
            "output_tokens_details": {"text_tokens": text, "audio_tokens": audio}})
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
