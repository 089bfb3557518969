//! What was said, and how the model should answer.

use super::document::{Object, Real};
use super::media::{Audio, Image, Medium, Video, VideoSource};

/// What happens to a call whose audio is longer than the model hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LongAudio {
    /// It is answered, with a warning.
    #[default]
    Warn,
    /// It is refused before the model is asked.
    Fail,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// What the model thought before.
    pub reasoning: String,
    /// The tools that it asks for.
    pub tool_calls: Vec<ToolCall>,
    /// The call that this turn answers; empty if none.
    pub tool_call_id: String,
    /// What the model noticed about its input.
    pub annotations: Vec<Annotation>,
    /// What no field above covers.
    pub extra: Object,
}

impl Turn {
    /// A turn with nothing in it.
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

/// One part of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// What it is.
    pub body: Body,
    /// The kind of cache that its end marks, if any.
    pub cache_control: Option<String>,
    /// The keys beside it that no field covers.
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

/// What a part of a turn is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Words.
    Text(String),
    /// A sound.
    Audio(Audio),
    /// A picture.
    Image(Image),
    /// A film.
    Video(Video),
    /// A kind that the schema does not know: all of it is in `extra`.
    Other,
}

impl Body {
    /// The media that it names.
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
    /// A function of the caller's.
    Function {
        /// Its name.
        name: String,
        /// What it does; empty when not said.
        description: String,
        /// The JSON Schema of its arguments as checked JSON text; empty when it has none.
        parameters: String,
    },
    /// Any other, as checked JSON text.
    Raw(String),
}

/// Whether a tool must be called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// Some.
    Required,
    /// This one.
    Function(String),
}

/// A call of a tool, or in a stream a piece of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ToolCall {
    /// Its position among the calls of one answer.
    pub index: i32,
    /// Its name; empty in all but the first piece.
    pub id: String,
    /// The kind of tool; empty in all but the first piece.
    pub kind: String,
    /// The function; empty in all but the first piece.
    pub name: String,
    /// The arguments as text, or the next piece of it.
    pub arguments: String,
    /// What no field above covers; what belongs into `function` is an object of that name.
    pub extra: Object,
}

/// Something the model noticed about its input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Annotation {
    /// The kind of note.
    pub kind: String,
    /// The language that was spoken.
    pub language: String,
    /// How it was spoken.
    pub emotion: String,
    /// What no field above covers.
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
    /// What happens to audio that is longer than the model hears; unset is the operator's choice.
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
    pub size: Option<String>,
    /// What no field above covers; holds no key of theirs.
    pub extra_parameters: Object,
}

/// Makes the model write JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    pub kind: String,
    /// The form of the answer.
    pub json_schema: Option<JsonSchema>,
}

/// The form of a JSON answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JsonSchema {
    /// A name for it.
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
    /// The voice; empty when not said.
    pub voice: String,
    /// The format.
    pub format: Option<String>,
}

/// How to search the web.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's key of the same name, see proto"
)]
pub struct SearchOptions {
    pub enable_source: Option<bool>,
    pub enable_citation: Option<bool>,
    pub citation_format: Option<String>,
    pub forced_search: Option<bool>,
    pub search_strategy: Option<String>,
    pub prepend_search_result: Option<bool>,
    pub freshness: Option<i32>,
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

/// What to read from a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OcrOptions {
    /// The kind of reading.
    pub task: Option<String>,
    /// What it needs.
    pub task_config: Option<Object>,
}
