//! The events of a call.
//!
//! A stream of `Result<Event, Error>` has this contract:
//!
//! | outcome | items | then |
//! |---|---|---|
//! | a complete answer | `Started`, any number of `Delta`, one `End` | the stream ends |
//! | an error before DashScope responded | one `Err` | the stream ends |
//! | an error, or a truncation | `Started`, any number of `Delta`, one `Err` | the stream ends |
//! | the receiver drops the stream | | the upstream connection is closed |
//!
//! No stream ends without `End` or `Err`: a response of DashScope that just ends is an `Err`.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use bytes::Bytes;

use super::document::{Object, Real};
use super::media::AudioFile;
use super::message::{Annotation, ToolCall};
use super::stored::HistoryUsed;
use super::usage::Usage;
use super::warning::Warning;

/// One event of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// DashScope has begun to respond.
    Started(Started),
    /// A delta of the answer: only what is new.
    Delta(Delta),
    /// The answer is complete.
    End(Box<End>),
}

/// The start of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Started {
    /// The model that answers.
    pub model: Arc<str>,
    /// DashScope's request id.
    pub upstream_request_id: String,
}

/// A delta of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The index of the choice, from 0.
    pub choice: i32,
    /// Whether it begins a new content part, even if it could continue the current one. Used with
    /// text, audio, audio files and extra keys.
    pub starts_part: bool,
    /// The content.
    pub piece: Piece,
}

/// The content of a delta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// Text.
    Text(String),
    /// Reasoning text.
    Reasoning(String),
    /// Audio.
    Audio(Bytes),
    /// A tool call, or a delta of one.
    ToolCall(ToolCall),
    /// An annotation of the model's input.
    Annotation(Annotation),
    /// A whole image, by URL.
    Image(String),
    /// DashScope's file of the whole audio.
    AudioFile(AudioFile),
    /// The unknown keys of the preceding part, or a part of an unknown kind.
    Extra(Object),
    /// Unknown keys of the message. A repeated key replaces the earlier value; one whose value came
    /// in pieces is emitted whole, before the end.
    MessageExtra(Object),
    /// The log probabilities of the latest tokens.
    Logprobs(Logprobs),
    /// The sources of a web search. The last one applies.
    Search(SearchInfo),
}

/// The end of a complete answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// The end of each choice, by index.
    pub choices: Vec<ChoiceEnd>,
    /// The usage; `None` if DashScope reported none.
    pub usage: Option<Arc<Usage>>,
    /// Unknown keys of DashScope's `output`.
    pub extra_output: Object,
    /// Unknown keys of DashScope's body.
    pub extra: Object,
    /// Warnings about the answer.
    pub warnings: Vec<Warning>,
    /// The turn of a stored conversation that was made.
    pub history: Option<HistoryUsed>,
}

/// The end of a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChoiceEnd {
    /// The index, from 0.
    pub index: i32,
    /// DashScope's finish reason: `stop`, `length`, `tool_calls`, or another.
    pub finish_reason: String,
    /// The unknown keys of the choice.
    pub extra: Object,
}

/// Log probabilities of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logprobs {
    /// The tokens, in order.
    pub content: Vec<TokenLogprob>,
    /// The unknown keys.
    pub extra: Object,
}

/// The log probability of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenLogprob {
    /// The token as text.
    pub token: String,
    /// The token as bytes.
    pub bytes: Vec<u8>,
    /// The logarithm of its probability.
    pub logprob: Option<Real>,
    /// The most likely alternatives.
    pub top_logprobs: Vec<TokenLogprob>,
    /// The unknown keys.
    pub extra: Object,
}

/// The result of a web search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchInfo {
    /// The sources.
    pub results: Vec<SearchResult>,
    /// The unknown keys.
    pub extra: Object,
}

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's key of the same name, see proto"
)]
pub struct SearchResult {
    pub index: Option<i32>,
    pub title: String,
    pub url: String,
    pub site_name: String,
    pub icon: String,
    pub extra: Object,
}
