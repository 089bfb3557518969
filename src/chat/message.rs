//! Messages of a conversation, and the options of a call.

use super::document::{Object, Real};
use super::media::{Audio, Image, Medium, Video, VideoSource};
use serde::{Deserialize, Serialize};

/// The handling of audio that is longer than the model processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LongAudio {
    /// The call runs, with a warning.
    #[default]
    Warn,
    /// The call is rejected before it is sent.
    Fail,
}

/// The role of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Instructions.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// The role.
    pub role: Role,
    /// The content, in order.
    pub parts: Vec<Part>,
    /// The reasoning text of an earlier answer.
    pub reasoning: String,
    /// The tool calls that it requests.
    pub tool_calls: Vec<ToolCall>,
    /// The id of the tool call that this message answers; empty if none.
    pub tool_call_id: String,
    /// Annotations of the model's input.
    pub annotations: Vec<Annotation>,
    /// The unknown keys.
    pub extra: Object,
}

impl Turn {
    /// An empty message.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            parts: Vec::new(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            tool_call_id: String::new(),
            annotations: Vec::new(),
            extra: Object::default(),
        }
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The content.
    pub body: Body,
    /// The kind of cache that ends after it, if any.
    pub cache_control: Option<String>,
    /// The unknown keys.
    pub extra: Object,
}

impl From<Body> for Part {
    fn from(body: Body) -> Self {
        Self {
            body,
            cache_control: None,
            extra: Object::default(),
        }
    }
}

/// The content of a part.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Text.
    Text(String),
    /// Audio.
    Audio(Audio),
    /// An image.
    Image(Image),
    /// A video.
    Video(Video),
    /// A kind that is not in the schema: all of it is in `extra`.
    Other,
}

impl Body {
    /// The media items in it.
    pub fn media(&self) -> impl Iterator<Item = &Medium> {
        let (one, frames) = match self {
            Self::Audio(audio) => (audio.medium.as_ref(), [].as_slice()),
            Self::Image(image) => (Some(&image.medium), [].as_slice()),
            Self::Video(video) => match &video.source {
                VideoSource::File(medium) => (Some(medium), [].as_slice()),
                VideoSource::Frames(frames) => (None, frames.as_slice()),
            },
            Self::Text(_) | Self::Other => (None, [].as_slice()),
        };
        one.into_iter().chain(frames)
    }
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    /// A function of the caller.
    Function {
        /// Its name.
        name: String,
        /// A description; empty if absent.
        description: String,
        /// The JSON Schema of its arguments as valid JSON text; empty if absent.
        parameters: String,
    },
    /// Any other tool, as valid JSON text.
    Raw(String),
}

/// Whether a tool must be called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// At least one tool.
    Required,
    /// This function.
    Function(String),
}

/// A tool call, or a delta of one in a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolCall {
    /// Its index in the answer.
    pub index: i32,
    /// Its id; empty in all but the first delta.
    pub id: String,
    /// The type of the tool; empty in all but the first delta.
    pub kind: String,
    /// The function; empty in all but the first delta.
    pub name: String,
    /// The arguments as JSON text, or a delta of it.
    pub arguments: String,
    /// The unknown keys; those of `function` are an object of that name.
    pub extra: Object,
}

/// An annotation of the model's input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotation {
    /// The type.
    pub kind: String,
    /// The detected language.
    pub language: String,
    /// The detected emotion.
    pub emotion: String,
    /// The unknown keys.
    pub extra: Object,
}

/// How the model should answer. What is not set is not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's parameter of the same name, see proto"
)]
pub struct Options {
    pub temperature: Option<Real>,
    pub top_p: Option<Real>,
    pub top_k: Option<i32>,
    pub seed: Option<i64>,
    pub max_tokens: Option<i32>,
    pub max_completion_tokens: Option<i32>,
    pub repetition_penalty: Option<Real>,
    pub presence_penalty: Option<Real>,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<Vec<i32>>,
    pub result_format: Option<String>,
    pub response_format: Option<ResponseFormat>,
    pub modalities: Vec<String>,
    pub audio: Option<AudioOutput>,
    pub n: Option<i32>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<i32>,
    pub enable_thinking: Option<bool>,
    pub thinking_budget: Option<i32>,
    /// The handling of audio that is longer than the model processes; unset uses the configured
    /// default.
    pub long_audio: Option<LongAudio>,
    pub preserve_thinking: Option<bool>,
    pub reasoning_effort: Option<String>,
    pub parallel_tool_calls: Option<bool>,
    pub tool_stream: Option<bool>,
    pub enable_code_interpreter: Option<bool>,
    pub enable_search: Option<bool>,
    pub search_options: Option<SearchOptions>,
    pub asr_options: Option<AsrOptions>,
    pub speech: Option<Speech>,
    pub vl_high_resolution_images: Option<bool>,
    pub vl_enable_image_hw_output: Option<bool>,
    pub ocr_options: Option<OcrOptions>,
    pub negative_prompt: Option<String>,
    pub prompt_extend: Option<bool>,
    pub watermark: Option<bool>,
    pub size: Option<ImageSize>,
    /// What no field above covers; holds no key of theirs.
    pub extra_parameters: Object,
}

/// The size of an image in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageSize {
    /// Width in pixels.
    pub width: i32,
    /// Height in pixels.
    pub height: i32,
}

/// The format of the text of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that conforms to a schema.
    JsonSchema(JsonSchema),
}

/// The schema of a JSON answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JsonSchema {
    /// The name.
    pub name: String,
    /// What the answer is for; empty when not said.
    pub description: String,
    /// The JSON Schema as checked JSON text; empty when not said.
    pub schema: String,
    /// Whether to follow it exactly.
    pub strict: Option<bool>,
}

/// The voice of an answer that is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AudioOutput {
    /// The voice.
    pub voice: Option<String>,
    /// The format.
    pub format: Option<String>,
}

/// How to search the web.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "every field is described in proto")]
pub struct SearchOptions {
    pub enable_source: Option<bool>,
    pub enable_citation: Option<bool>,
    pub citation_format: Option<String>,
    pub forced_search: Option<bool>,
    pub search_strategy: Option<String>,
    pub prepend_search_result: Option<bool>,
    pub freshness_days: Option<i32>,
    pub assigned_site_list: Vec<String>,
    pub enable_search_extension: Option<bool>,
}

/// How to transcribe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's key of the same name, see proto"
)]
pub struct AsrOptions {
    pub language: Option<String>,
    pub enable_lid: Option<bool>,
    pub enable_itn: Option<bool>,
}

/// How to speak a text. The text is that of the one user turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's key of the same name, see proto"
)]
pub struct Speech {
    pub voice: Option<String>,
    pub language_type: Option<String>,
    pub instructions: Option<String>,
    pub optimize_instructions: Option<bool>,
}

/// What to read from an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OcrOptions {
    /// The kind of reading.
    pub task: Option<String>,
    /// What it needs.
    pub task_config: Option<Object>,
}
