//! What each kind of server accepts, as data.
//!
//! Sources: the published API references and sources of OpenAI, vLLM 0.2x, vLLM-Omni 0.30, SGLang
//! 0.5 and SGLang-Omni 0.1, and DashScope's documentation of its compatible mode.

/// How audio is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AudioForm {
    /// `input_audio{data,format}` with base64 alone. URLs are not accepted.
    Bytes,
    /// `input_audio{data,format}` with a `data:` URI or a URL.
    Uri,
    /// `audio_url{url}` with a `data:` URI or a URL.
    Url,
}

/// How a video is sent that consists of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramesForm {
    /// `video` with a list of URLs.
    List,
    /// `video_url` with a `data:video/jpeg` URI of several JPEG images.
    JpegUri,
    /// Not at all.
    None,
}

/// How processing options of images and videos are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VisionOptions {
    /// As keys of the part.
    OfPart,
    /// In `mm_processor_kwargs` of the request, once for all.
    OfRequest,
    /// Those of videos alone, as keys of the request, once for all.
    OfVideos,
    /// Not at all.
    None,
}

/// How the choice to think is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThinkingForm {
    /// `enable_thinking` of the request.
    OfRequest,
    /// `chat_template_kwargs.enable_thinking`.
    OfTemplate,
    /// Not at all.
    None,
}

/// A kind of server.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The name of such a server in messages.
    pub(super) server: &'static str,
    pub(super) audio: AudioForm,
    pub(super) frames: FramesForm,
    /// Whether media are lists of the request beside the messages.
    pub(super) media_beside_messages: bool,
    pub(super) vision_options: VisionOptions,
    pub(super) thinking: ThinkingForm,
    /// The formats of spoken answers, whole and streamed, that are sent if none is chosen. `None`
    /// if the server has a default.
    pub(super) spoken_formats: Option<(&'static str, &'static str)>,
    /// Whether it is DashScope, which knows its own parameters in this form too, reads its own
    /// temporary storage and has workspaces.
    pub(super) is_dashscope: bool,
    /// Whether it knows `top_k` and `repetition_penalty`.
    pub(super) has_sampling_extensions: bool,
    /// Whether it knows tools, several choices, log probabilities, and formats of the answer.
    pub(super) has_tools_and_formats: bool,
    /// The keys of the reasoning in a message that is sent back.
    pub(super) reasoning_keys: &'static [&'static str],
}

impl Dialect {
    /// DashScope's compatible mode.
    pub const DASHSCOPE: &'static Self = &Self {
        server: "DashScope",
        audio: AudioForm::Uri,
        frames: FramesForm::List,
        media_beside_messages: false,
        vision_options: VisionOptions::OfPart,
        thinking: ThinkingForm::OfRequest,
        spoken_formats: Some(("wav", "wav")),
        is_dashscope: true,
        has_sampling_extensions: true,
        has_tools_and_formats: true,
        reasoning_keys: &["reasoning_content"],
    };

    /// OpenAI, and servers that accept what it accepts.
    pub const OPENAI: &'static Self = &Self {
        server: "the upstream server",
        audio: AudioForm::Bytes,
        frames: FramesForm::None,
        media_beside_messages: false,
        vision_options: VisionOptions::None,
        thinking: ThinkingForm::None,
        spoken_formats: Some(("wav", "pcm16")),
        is_dashscope: false,
        has_sampling_extensions: false,
        has_tools_and_formats: true,
        reasoning_keys: &[],
    };

    /// vLLM and vLLM-Omni.
    pub const VLLM: &'static Self = &Self {
        audio: AudioForm::Url,
        spoken_formats: None,
        frames: FramesForm::JpegUri,
        vision_options: VisionOptions::OfRequest,
        thinking: ThinkingForm::OfTemplate,
        has_sampling_extensions: true,
        // Earlier versions read the second alone, later ones the first.
        reasoning_keys: &["reasoning", "reasoning_content"],
        ..*Self::OPENAI
    };

    /// SGLang.
    pub const SGLANG: &'static Self = &Self {
        audio: AudioForm::Url,
        spoken_formats: None,
        thinking: ThinkingForm::OfTemplate,
        has_sampling_extensions: true,
        reasoning_keys: &["reasoning_content"],
        ..*Self::OPENAI
    };

    /// SGLang-Omni.
    pub const SGLANG_OMNI: &'static Self = &Self {
        media_beside_messages: true,
        vision_options: VisionOptions::OfVideos,
        thinking: ThinkingForm::None,
        has_tools_and_formats: false,
        ..*Self::SGLANG
    };

    /// Whether it is DashScope.
    pub fn is_dashscope(&self) -> bool {
        self.is_dashscope
    }

    /// The name of such a server in messages.
    pub fn server(&self) -> &'static str {
        self.server
    }

    /// The interface in messages.
    pub(super) fn interface(&self) -> &'static str {
        match self.is_dashscope {
            true => "DashScope's compatible mode",
            false => self.server,
        }
    }
}
