//! The types of DashScope's responses. Texts borrow from the JSON where possible.
//!
//! `strict.rs` reads them as documented; `lenient.rs` accepts deviations.

use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json_text::{Quoted, Text};
use crate::chat::document::{MAX_LEVELS, Object};
use crate::chat::warning::{Code, Warning};

/// The JSON of a value that is parsed later, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'a>(pub(super) &'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self(raw.get()))
    }
}

/// The body of a response, or the data of one event.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) request_id: Option<Text<'a>>,
    pub(super) code: Option<Text<'a>>,
    pub(super) message: Option<Text<'a>>,
    pub(super) error: Option<&'a RawValue>,
    pub(super) output: Option<Output<'a>>,
    pub(super) usage: Option<Raw<'a>>,
    pub(super) extra: Object,
    /// Warnings about values that were dropped.
    pub(super) warnings: Vec<Warning>,
}

/// The warning about a duplicate key.
pub(super) fn repeated(path: String) -> Warning {
    let message = "duplicate key in DashScope's answer; the last value is used";
    Warning::new(Code::AnswerPartDropped, path, message)
}

/// The warning about a value nested too deeply for protobuf decoders.
pub(super) fn nested(path: String) -> Warning {
    let message = format!(
        "the value is nested more than {MAX_LEVELS} levels deep in DashScope's answer; deeper \
         values are kept as JSON text"
    );
    Warning::new(Code::AnswerPartDropped, path, message)
}

/// `output`.
#[derive(Debug, Default)]
pub(super) struct Output<'a> {
    pub(super) choices: Option<Vec<Choice<'a>>>,
    /// The text of models that return no `choices`.
    pub(super) text: Option<Text<'a>>,
    pub(super) finish_reason: Option<Text<'a>>,
    pub(super) audio: Option<Audio<'a>>,
    pub(super) search_info: Option<SearchInfo<'a>>,
    /// Whether the response is complete, as reported by some image models.
    pub(super) finished: Option<bool>,
    pub(super) extra: Object,
    /// Whether `output` was a string instead of an object.
    pub(super) is_bare: bool,
}

impl Output<'_> {
    /// Whether it has any content. Errors may come with an empty object, an empty list of choices,
    /// or the status of a task.
    pub(super) fn has_content(&self) -> bool {
        self.choices.as_ref().is_some_and(|list| !list.is_empty())
            || self.text.is_some()
            || self.finish_reason.is_some()
            || self.audio.is_some()
            || self.search_info.is_some()
    }
}

/// One of `output.choices`.
#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) index: Option<i32>,
    pub(super) finish_reason: Option<Text<'a>>,
    pub(super) message: Option<Message<'a>>,
    pub(super) logprobs: Option<Logprobs<'a>>,
    pub(super) extra: Object,
}

/// `message`.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pub(super) role: Option<Text<'a>>,
    pub(super) content: Option<Content<'a>>,
    pub(super) reasoning_content: Option<Text<'a>>,
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    pub(super) annotations: Option<Vec<Annotation<'a>>>,
    pub(super) extra: Object,
}

impl<'a> Message<'a> {
    /// Whether it has any content.
    pub(super) fn has_content(&self) -> bool {
        let has_content = match &self.content {
            Some(Content::Text(Text(text))) => !text.is_empty(),
            Some(Content::Parts(parts)) => parts.iter().any(Part::has_content),
            None => false,
        };
        has_content
            || !Text::or_empty(&self.reasoning_content).is_empty()
            || self
                .tool_calls
                .as_ref()
                .is_some_and(|calls| !calls.is_empty())
    }

    /// A message whose JSON is a string.
    pub(super) fn from_text(text: Text<'a>) -> Self {
        Self {
            content: Some(Content::Text(text)),
            ..Self::default()
        }
    }
}

/// `content`: a list of parts, or a single text.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

/// One part of `content`.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) text: Option<Text<'a>>,
    pub(super) image: Option<Text<'a>>,
    pub(super) audio: Option<Audio<'a>>,
    pub(super) extra: Object,
}

impl Part<'_> {
    fn has_content(&self) -> bool {
        let has_text = !Text::or_empty(&self.text).is_empty();
        has_text || self.image.is_some() || self.audio.is_some() || !self.extra.is_empty()
    }
}

/// Audio: an object, or a URL alone.
#[derive(Debug, Default)]
pub(super) struct Audio<'a> {
    pub(super) data: Option<Quoted<'a>>,
    pub(super) url: Option<Text<'a>>,
    pub(super) id: Option<Text<'a>>,
    pub(super) expires_at: Option<i64>,
    pub(super) extra: Object,
}

/// One of `tool_calls`.
#[derive(Debug, Default)]
pub(super) struct ToolCall<'a> {
    pub(super) index: Option<i32>,
    pub(super) id: Option<Text<'a>>,
    pub(super) kind: Option<Text<'a>>,
    pub(super) function: Option<Function<'a>>,
    pub(super) extra: Object,
}

/// `function` of a tool call.
#[derive(Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: Option<Text<'a>>,
    pub(super) arguments: Option<Text<'a>>,
    pub(super) extra: Object,
}

/// One of `annotations`.
#[derive(Debug, Default)]
pub(super) struct Annotation<'a> {
    pub(super) kind: Option<Text<'a>>,
    pub(super) language: Option<Text<'a>>,
    pub(super) emotion: Option<Text<'a>>,
    pub(super) extra: Object,
}

/// `logprobs`.
#[derive(Debug, Default)]
pub(super) struct Logprobs<'a> {
    pub(super) content: Option<Vec<TokenLogprob<'a>>>,
    pub(super) extra: Object,
}

/// One token of `logprobs`.
#[derive(Debug, Default)]
pub(super) struct TokenLogprob<'a> {
    pub(super) token: Option<Text<'a>>,
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) logprob: Option<f64>,
    pub(super) top_logprobs: Option<Vec<TokenLogprob<'a>>>,
    pub(super) extra: Object,
}

/// `search_info`.
#[derive(Debug, Default)]
pub(super) struct SearchInfo<'a> {
    pub(super) results: Option<Vec<SearchResult<'a>>>,
    pub(super) extra: Object,
}

/// One of `search_results`.
#[derive(Debug, Default)]
pub(super) struct SearchResult<'a> {
    pub(super) index: Option<i32>,
    pub(super) title: Option<Text<'a>>,
    pub(super) url: Option<Text<'a>>,
    pub(super) site_name: Option<Text<'a>>,
    pub(super) icon: Option<Text<'a>>,
    pub(super) extra: Object,
}

/// The alternative form of an error: `{"error": {...}}`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ErrorObject<'a> {
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) param: Option<Text<'a>>,
}

impl TokenLogprob<'_> {
    /// Whether its alternatives have alternatives of their own. No model sends that, and the depth
    /// would be unbounded.
    fn is_nested(&self) -> bool {
        let mut others = self.top_logprobs.iter().flatten();
        others.any(|other| other.top_logprobs.is_some())
    }
}

impl Body<'_> {
    /// Whether lists of its own kind are nested in it. Only the tree reader tracks their depth.
    pub(super) fn is_nested(&self) -> bool {
        let choices = self.output.iter().flat_map(|output| &output.choices);
        let logprobs = choices
            .flatten()
            .filter_map(|choice| choice.logprobs.as_ref());
        let mut tokens = logprobs.flat_map(|logprobs| &logprobs.content).flatten();
        tokens.any(TokenLogprob::is_nested)
    }
}

impl<'a> Audio<'a> {
    /// Audio given as a URL.
    pub(super) fn at(url: Text<'a>) -> Self {
        Self {
            url: Some(url),
            ..Self::default()
        }
    }
}
