//! What comes back from a call, piece by piece.
//!
//! A stream of `Result<Event, Error>` keeps this contract:
//!
//! | what happened | items | then |
//! |---|---|---|
//! | a complete answer | `Started`, any number of `Delta`, one `End` | the stream ends |
//! | a fault before DashScope began | one `Err` | the stream ends |
//! | a fault, or a cut | `Started`, any number of `Delta`, one `Err` | the stream ends |
//! | the receiver drops the stream | | the upstream connection is closed |
//!
//! A stream that ends without `End` or `Err` does not exist: DashScope's silence is an `Err`.

use std::sync::Arc;

use bytes::Bytes;

use super::document::{Object, Real};
use super::media::AudioFile;
use super::message::{Annotation, ToolCall};
use super::usage::Usage;
use super::warning::Warning;

/// One event of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// DashScope has begun to answer.
    Started(Started),
    /// A piece of the answer: what is new, never what was said before.
    Delta(Delta),
    /// The answer is complete.
    End(Box<End>),
}

/// DashScope has begun to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// The model that answers.
    pub model: Arc<str>,
    /// DashScope's name of the call.
    pub upstream_request_id: String,
}

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Which of the answers it belongs to, from 0.
    pub choice: i32,
    /// Whether it begins a new content part, even if it could continue the one before. Used with
    /// text, audio, audio files and extra keys.
    pub starts_part: bool,
    /// The piece.
    pub piece: Piece,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// The next text.
    Text(String),
    /// The next thought.
    Reasoning(String),
    /// The next sound.
    Audio(Bytes),
    /// A tool call, or the next piece of one.
    ToolCall(ToolCall),
    /// Something the model noticed about its input.
    Annotation(Annotation),
    /// A whole picture, by its address.
    Image(String),
    /// DashScope's copy of the whole sound.
    AudioFile(AudioFile),
    /// The other keys of the part that came just before, or a part of an unknown kind.
    Extra(Object),
    /// Keys of the message that no field covers. A key that comes again replaces the one before;
    /// one whose value came in pieces comes whole, before the end.
    MessageExtra(Object),
    /// How likely the last words were.
    Logprobs(Logprobs),
    /// The sources that were found. The last one holds.
    Search(SearchInfo),
}

/// The end of a complete answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// How each answer ended, in the order of their index.
    pub choices: Vec<ChoiceEnd>,
    /// What it used; none when DashScope did not say.
    pub usage: Option<Box<Usage>>,
    /// What DashScope wrote beside all this.
    pub extra_output: Object,
    /// The other keys of DashScope's body.
    pub extra: Object,
    /// What the caller should know about the answer.
    pub warnings: Vec<Warning>,
}

/// How one of the answers ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceEnd {
    /// Which one, from 0.
    pub index: i32,
    /// Why, in DashScope's word: `stop`, `length`, `tool_calls`, or a new one.
    pub finish_reason: String,
    /// The other keys of the choice.
    pub extra: Object,
}

/// How likely words were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logprobs {
    /// The tokens in their order.
    pub content: Vec<TokenLogprob>,
    /// What no field covers.
    pub extra: Object,
}

/// How likely one token was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenLogprob {
    /// The token as text.
    pub token: String,
    /// The token as bytes.
    pub bytes: Vec<u8>,
    /// The logarithm of its probability.
    pub logprob: Option<Real>,
    /// What else could have been there.
    pub top_logprobs: Vec<TokenLogprob>,
    /// What no field covers.
    pub extra: Object,
}

/// What was found on the web.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchInfo {
    /// The sources.
    pub results: Vec<SearchResult>,
    /// What no field covers.
    pub extra: Object,
}

/// One source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's key of the same name, see proto"
)]
pub struct SearchResult {
    pub index: i32,
    pub title: String,
    pub url: String,
    pub site_name: String,
    pub icon: String,
    pub extra: Object,
}
