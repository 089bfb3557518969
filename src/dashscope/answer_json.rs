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
pub(crate) struct Raw<'a>(pub(crate) &'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self(raw.get()))
    }
}

/// The body of a response, or the data of one event.
#[derive(Debug, Default)]
pub(crate) struct Body<'a> {
    pub(crate) request_id: Option<Text<'a>>,
    pub(crate) code: Option<Text<'a>>,
    pub(crate) message: Option<Text<'a>>,
    pub(crate) error: Option<&'a RawValue>,
    pub(crate) output: Option<Output<'a>>,
    pub(crate) usage: Option<Raw<'a>>,
    pub(crate) extra: Object,
    /// Warnings about values that were dropped.
    pub(crate) warnings: Vec<Warning>,
}

/// The warning about a duplicate key.
pub(crate) fn repeated(path: String) -> Warning {
    let message = "duplicate key in DashScope's answer; the last value is used";
    Warning::new(Code::AnswerPartDropped, path, message)
}

/// The warning about a value nested too deeply for protobuf decoders.
pub(crate) fn nested(path: String) -> Warning {
    let message = format!(
        "the value is nested more than {MAX_LEVELS} levels deep in DashScope's answer; deeper \
         values are kept as JSON text"
    );
    Warning::new(Code::AnswerPartDropped, path, message)
}

/// `output`.
#[derive(Debug, Default)]
pub(crate) struct Output<'a> {
    pub(crate) choices: Option<Vec<Choice<'a>>>,
    /// The text of models that return no `choices`.
    pub(crate) text: Option<Text<'a>>,
    pub(crate) finish_reason: Option<Text<'a>>,
    pub(crate) audio: Option<Audio<'a>>,
    pub(crate) search_info: Option<SearchInfo<'a>>,
    /// Whether the response is complete, as reported by some image models.
    pub(crate) finished: Option<bool>,
    pub(crate) extra: Object,
    /// Whether `output` was a string instead of an object.
    pub(crate) is_bare: bool,
}

impl Output<'_> {
    /// Whether it has any content. Errors may come with an empty object, an empty list of choices,
    /// or the status of a task.
    pub(crate) fn has_content(&self) -> bool {
        self.choices.as_ref().is_some_and(|list| !list.is_empty())
            || self.text.is_some()
            || self.finish_reason.is_some()
            || self.audio.is_some()
            || self.search_info.is_some()
    }
}

/// One of `output.choices`.
#[derive(Debug, Default)]
pub(crate) struct Choice<'a> {
    pub(crate) index: Option<i32>,
    pub(crate) finish_reason: Option<Text<'a>>,
    pub(crate) message: Option<Message<'a>>,
    pub(crate) logprobs: Option<Logprobs<'a>>,
    pub(crate) extra: Object,
}

/// `message`.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) role: Option<Text<'a>>,
    pub(crate) content: Option<Content<'a>>,
    pub(crate) reasoning_content: Option<Text<'a>>,
    pub(crate) tool_calls: Option<Vec<ToolCall<'a>>>,
    pub(crate) annotations: Option<Vec<Annotation<'a>>>,
    pub(crate) extra: Object,
}

impl<'a> Message<'a> {
    /// Whether it has any content.
    pub(crate) fn has_content(&self) -> bool {
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
    pub(crate) fn from_text(text: Text<'a>) -> Self {
        Self {
            content: Some(Content::Text(text)),
            ..Self::default()
        }
    }
}

/// `content`: a list of parts, or a single text.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

/// One part of `content`.
#[derive(Debug, Default)]
pub(crate) struct Part<'a> {
    pub(crate) text: Option<Text<'a>>,
    pub(crate) image: Option<Text<'a>>,
    pub(crate) audio: Option<Audio<'a>>,
    pub(crate) extra: Object,
}

impl Part<'_> {
    fn has_content(&self) -> bool {
        let has_text = !Text::or_empty(&self.text).is_empty();
        has_text || self.image.is_some() || self.audio.is_some() || !self.extra.is_empty()
    }
}

/// Audio: an object, or a URL alone.
#[derive(Debug, Default)]
pub(crate) struct Audio<'a> {
    pub(crate) data: Option<Quoted<'a>>,
    pub(crate) url: Option<Text<'a>>,
    pub(crate) id: Option<Text<'a>>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) extra: Object,
    /// Whether the data may be a file: of a WAVE file, only the samples belong to the answer.
    pub(crate) may_be_file: bool,
}

/// One of `tool_calls`.
#[derive(Debug, Default)]
pub(crate) struct ToolCall<'a> {
    pub(crate) index: Option<i32>,
    pub(crate) id: Option<Text<'a>>,
    pub(crate) kind: Option<Text<'a>>,
    pub(crate) function: Option<Function<'a>>,
    pub(crate) extra: Object,
}

/// `function` of a tool call.
#[derive(Debug, Default)]
pub(crate) struct Function<'a> {
    pub(crate) name: Option<Text<'a>>,
    pub(crate) arguments: Option<Text<'a>>,
    pub(crate) extra: Object,
}

/// One of `annotations`.
#[derive(Debug, Default)]
pub(crate) struct Annotation<'a> {
    pub(crate) kind: Option<Text<'a>>,
    pub(crate) language: Option<Text<'a>>,
    pub(crate) emotion: Option<Text<'a>>,
    pub(crate) extra: Object,
}

/// `logprobs`.
#[derive(Debug, Default)]
pub(crate) struct Logprobs<'a> {
    pub(crate) content: Option<Vec<TokenLogprob<'a>>>,
    pub(crate) extra: Object,
}

/// One token of `logprobs`.
#[derive(Debug, Default)]
pub(crate) struct TokenLogprob<'a> {
    pub(crate) token: Option<Text<'a>>,
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) logprob: Option<f64>,
    pub(crate) top_logprobs: Option<Vec<TokenLogprob<'a>>>,
    pub(crate) extra: Object,
}

/// `search_info`.
#[derive(Debug, Default)]
pub(crate) struct SearchInfo<'a> {
    pub(crate) results: Option<Vec<SearchResult<'a>>>,
    pub(crate) extra: Object,
}

/// One of `search_results`.
#[derive(Debug, Default)]
pub(crate) struct SearchResult<'a> {
    pub(crate) index: Option<i32>,
    pub(crate) title: Option<Text<'a>>,
    pub(crate) url: Option<Text<'a>>,
    pub(crate) site_name: Option<Text<'a>>,
    pub(crate) icon: Option<Text<'a>>,
    pub(crate) extra: Object,
}

/// The alternative form of an error: `{"error": {...}}`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct ErrorObject<'a> {
    #[serde(borrow)]
    pub(crate) code: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) message: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) param: Option<Text<'a>>,
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
    pub(crate) fn is_nested(&self) -> bool {
        let choices = self.output.iter().flat_map(|output| &output.choices);
        let mut logprobs = choices
            .flatten()
            .filter_map(|choice| choice.logprobs.as_ref());
        logprobs.any(Logprobs::is_nested)
    }
}

impl Logprobs<'_> {
    /// Whether an alternative of a token has alternatives of its own.
    pub(crate) fn is_nested(&self) -> bool {
        let mut tokens = self.content.iter().flatten();
        tokens.any(TokenLogprob::is_nested)
    }
}

impl<'a> Audio<'a> {
    /// Audio given as a URL.
    pub(crate) fn at(url: Text<'a>) -> Self {
        Self {
            url: Some(url),
            ..Self::default()
        }
    }
}
