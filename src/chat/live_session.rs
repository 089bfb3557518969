//! The configuration of a live session, and what a caller sends in it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::document::{Object, Real};
use super::message::{SearchOptions, Tool, ToolChoice};

/// The sample rate of input audio unless another is configured.
pub const INPUT_RATE: u32 = 16_000;

/// The sample rate of output audio unless another is configured or the model reports one.
pub const OUTPUT_RATE: u32 = 24_000;

/// The configuration of a live session.
#[derive(Clone, Debug)]
pub struct LiveSetup {
    /// The model.
    pub model: Arc<str>,
    /// What the session does.
    pub task: LiveTask,
}

/// What a live session does.
#[derive(Clone, Debug)]
pub enum LiveTask {
    /// Conversation by voice.
    Converse(Box<ConverseSetup>),
    /// Speech synthesis.
    Synthesize(Box<SynthesisSetup>),
}

impl LiveTask {
    /// The formats of input and of output audio. Speech synthesis has no input audio.
    pub fn audio_formats(&self) -> (AudioFormat, AudioFormat) {
        match self {
            Self::Converse(setup) => (setup.input_audio, setup.output_audio),
            Self::Synthesize(setup) => (AudioFormat::default(), setup.output_audio),
        }
    }
}

/// The configuration of a conversation by voice. What is `None` or empty is not sent.
#[derive(Clone, Debug, Default)]
pub struct ConverseSetup {
    /// What can also be changed later.
    pub changes: SessionChanges,
    /// The voice.
    pub voice: Option<String>,
    /// The format of input audio.
    pub input_audio: AudioFormat,
    /// The format of output audio; the rate is `None` for the model's own.
    pub output_audio: AudioFormat,
    /// Whether the model may search the web.
    pub enable_search: Option<bool>,
    /// Options of web search.
    pub search_options: Option<SearchOptions>,
}

/// The part of the configuration that can be changed in a session. What is `None` or empty stays.
#[derive(Clone, Debug, Default)]
pub struct SessionChanges {
    /// Instructions.
    pub instructions: Option<String>,
    /// Modalities of responses.
    pub modalities: Vec<String>,
    /// The detection of turns.
    pub turn_detection: Option<TurnDetection>,
    /// The transcription of input audio.
    pub transcription: Option<Transcription>,
    /// The tools.
    pub tools: Vec<Tool>,
    /// Whether a tool must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Sampling.
    pub sampling: LiveSampling,
    /// Other keys of `session`, merged into it last.
    pub extra: Object,
}

impl SessionChanges {
    /// About the bytes of memory that they take.
    pub fn weight(&self) -> usize {
        let uris = match &self.turn_detection {
            Some(TurnDetection::SmartTurn(smart)) => smart.voiceprint_audio_uris.as_slice(),
            _ => &[],
        };
        let recognizer = match &self.transcription {
            Some(Transcription::Enabled {
                model,
                language,
                corpus_text,
            }) => model.len() + language.len() + corpus_text.len(),
            Some(Transcription::Disabled) | None => 0,
        };
        let texts = self.modalities.iter().chain(uris);
        let tools = self.tools.iter().map(|tool| match tool {
            Tool::Function {
                name,
                description,
                parameters,
            } => name.len() + description.len() + parameters.len(),
            Tool::Raw(text) => text.len(),
        });
        size_of::<Self>()
            + self.instructions.as_ref().map_or(0, String::len)
            + recognizer
            + texts
                .map(|text| size_of::<String>() + text.len())
                .sum::<usize>()
            + tools.map(|bytes| size_of::<Tool>() + bytes).sum::<usize>()
            + self.extra.weight()
    }

    /// Applies later changes.
    pub fn merge(&mut self, later: &Self) {
        let Self {
            instructions,
            modalities,
            turn_detection,
            transcription,
            tools,
            tool_choice,
            sampling,
            extra,
        } = later;
        replace(&mut self.instructions, instructions);
        replace(&mut self.turn_detection, turn_detection);
        replace(&mut self.transcription, transcription);
        replace(&mut self.tool_choice, tool_choice);
        if !modalities.is_empty() {
            self.modalities.clone_from(modalities);
        }
        if !tools.is_empty() {
            self.tools.clone_from(tools);
        }
        self.sampling.merge(sampling);
        self.extra.merge(extra.clone());
    }
}

fn replace<T: Clone>(known: &mut Option<T>, later: &Option<T>) {
    if later.is_some() {
        known.clone_from(later);
    }
}

/// Sampling of responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's key of the same name, see proto"
)]
pub struct LiveSampling {
    pub temperature: Option<Real>,
    pub top_p: Option<Real>,
    pub top_k: Option<i32>,
    pub seed: Option<i64>,
    pub max_tokens: Option<i32>,
    pub repetition_penalty: Option<Real>,
    pub presence_penalty: Option<Real>,
}

impl LiveSampling {
    fn merge(&mut self, later: &Self) {
        replace(&mut self.temperature, &later.temperature);
        replace(&mut self.top_p, &later.top_p);
        replace(&mut self.top_k, &later.top_k);
        replace(&mut self.seed, &later.seed);
        replace(&mut self.max_tokens, &later.max_tokens);
        replace(&mut self.repetition_penalty, &later.repetition_penalty);
        replace(&mut self.presence_penalty, &later.presence_penalty);
    }
}

/// A format of mono audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudioFormat {
    /// The encoding.
    pub encoding: AudioEncoding,
    /// Samples per second; `None` for the default.
    pub sample_rate: Option<u32>,
}

impl AudioFormat {
    /// Whether it is PCM, whose duration follows from its length.
    pub fn is_pcm(self) -> bool {
        self.encoding == AudioEncoding::Pcm
    }
}

/// An encoding of audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudioEncoding {
    /// Signed 16-bit little-endian PCM.
    #[default]
    Pcm,
    /// WAVE.
    Wav,
    /// MP3.
    Mp3,
    /// Opus.
    Opus,
}

/// How the end of a turn is detected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnDetection {
    /// The caller says it.
    Manual,
    /// By voice activity.
    ServerVad(VoiceActivity),
    /// By voice activity and meaning.
    SemanticVad(VoiceActivity),
    /// By sound and meaning.
    SmartTurn(SmartTurn),
}

/// The detection of turns by silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoiceActivity {
    /// The sensitivity.
    pub threshold: Option<Real>,
    /// Audio before the start of speech.
    pub prefix_padding: Option<Duration>,
    /// The silence that ends a turn.
    pub silence_duration: Option<Duration>,
    /// The silence after which the model speaks by itself.
    pub idle_timeout: Option<Duration>,
    /// Whether the end of a turn starts a response.
    pub create_response: Option<bool>,
    /// Whether speech cancels a response.
    pub interrupt_response: Option<bool>,
}

/// The detection of turns by sound and meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmartTurn {
    /// URLs of recordings of the speaker.
    pub voiceprint_audio_uris: Vec<String>,
    /// Whether it is the second version.
    pub is_v2: bool,
}

/// The transcription of input audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transcription {
    /// None.
    Disabled,
    /// Transcription; what is empty is not sent.
    Enabled {
        /// The recognizer.
        model: String,
        /// The spoken language.
        language: String,
        /// Text with names and terms.
        corpus_text: String,
    },
}

/// The configuration of speech synthesis. What is `None` is not sent.
#[derive(Clone, Debug, Default)]
pub struct SynthesisSetup {
    /// The voice.
    pub voice: Option<String>,
    /// Whether text is spoken only when the caller commits it.
    pub is_committed: bool,
    /// The format of the audio.
    pub output_audio: AudioFormat,
    /// The language of the text.
    pub language_type: Option<String>,
    /// The speed.
    pub speech_rate: Option<Real>,
    /// The volume.
    pub volume: Option<i32>,
    /// The pitch.
    pub pitch_rate: Option<Real>,
    /// The bit rate in kbit/s.
    pub bit_rate: Option<i32>,
    /// Instructions on how to speak.
    pub instructions: Option<String>,
    /// Whether DashScope may improve the instructions.
    pub optimize_instructions: Option<bool>,
    /// Whether numbers and symbols are written out.
    pub enable_tn: Option<bool>,
    /// Other keys of `session`, merged into it last.
    pub extra: Object,
}

/// What a caller sends in a session, after its setup.
#[derive(Clone, Debug)]
pub enum LiveInput {
    /// Audio, in the format of the setup.
    Audio(Bytes),
    /// A JPEG image.
    Image(Bytes),
    /// A text message of a conversation, or text to be spoken.
    Text(String),
    /// Ends the turn, or speaks the text so far.
    Commit,
    /// Discards audio, images and text that are not committed.
    Clear,
    /// Requests a response.
    CreateResponse(ResponseOptions),
    /// Cancels the response that is running.
    CancelResponse,
    /// The result of a tool call.
    ToolResult {
        /// The id of the call.
        call_id: String,
        /// The result.
        output: String,
    },
    /// Changes the configuration.
    Update(Box<SessionChanges>),
    /// Removes an item.
    DeleteItem(String),
    /// Ends the input.
    Finish,
    /// Confirms events up to this sequence number.
    Acknowledge(i32),
}

/// Options of one response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseOptions {
    /// Instructions in place of those of the session; empty for none.
    pub instructions: String,
    /// Modalities; empty for those of the session.
    pub modalities: Vec<String>,
}
