//! The events of a live session that DashScope reports, independent of the dialect.

use std::time::Duration;

use bytes::Bytes;

use super::document::Object;
use super::live_session::AudioFormat;
use super::message::ToolCall;
use super::usage::Usage;

/// An event that DashScope reports.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamEvent {
    /// The session exists. Its first event.
    SessionCreated(UpstreamSession),
    /// The configuration was changed.
    SessionUpdated(UpstreamSession),
    /// The session is complete.
    SessionFinished,
    /// The caller started to speak.
    SpeechStarted(SpeechBoundary),
    /// The caller stopped speaking.
    SpeechStopped(SpeechBoundary),
    /// The input became an item.
    Committed {
        /// Its id.
        item_id: String,
    },
    /// An item of the conversation exists.
    ItemCreated {
        /// Its id.
        item_id: String,
    },
    /// A part of the transcript of an item.
    Transcript {
        /// Whether it is of speech that is no turn.
        is_ambient: bool,
        /// The transcript.
        part: TranscriptPart,
        /// The usage of the transcription, if reported.
        usage: Option<Box<Usage>>,
    },
    /// The transcription of an item failed.
    TranscriptFailed {
        /// The id of the item.
        item_id: String,
        /// DashScope's code.
        code: String,
        /// DashScope's message.
        message: String,
    },
    /// A response has started.
    ResponseCreated {
        /// Its id.
        response_id: String,
    },
    /// A delta of a response.
    Delta(UpstreamDelta),
    /// An item of a response is complete.
    ItemDone {
        /// The id of the response.
        response_id: String,
        /// The id of the item.
        item_id: String,
        /// `completed` or `incomplete`.
        status: String,
        /// What was missing so far of the tool call that the item is.
        call: Option<Box<UpstreamDelta>>,
    },
    /// A response has ended.
    ResponseDone(Box<UpstreamResponse>),
    /// A refusal or an error.
    Error(UpstreamError),
    /// Known, without consequence for the caller.
    Ignored,
    /// An event that is not known.
    Unknown {
        /// Its type.
        kind: String,
        /// All of it.
        event: Object,
    },
}

/// DashScope's `session` object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamSession {
    /// The id.
    pub id: String,
    /// The voice.
    pub voice: String,
    /// The format of output audio, as far as it is reported.
    pub output_audio: Option<AudioFormat>,
    /// All of it.
    pub fields: Object,
}

/// The start or the end of speech.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpeechBoundary {
    /// The id of the item that the speech becomes.
    pub item_id: String,
    /// The position in the caller's audio.
    pub at: Duration,
    /// Why it is no turn, if it is none.
    pub reason: String,
}

/// A part of a transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TranscriptPart {
    /// The id of the item.
    pub item_id: String,
    /// How `text` relates to earlier parts.
    pub kind: TranscriptKind,
    /// Words.
    pub text: String,
    /// The words after them that may still change.
    pub tentative: String,
    /// The language, if reported.
    pub language: String,
    /// The emotion, if reported.
    pub emotion: String,
}

/// How the text of a part relates to that of earlier parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TranscriptKind {
    /// It follows them.
    #[default]
    Delta,
    /// It replaces them.
    Snapshot,
    /// It replaces them, and is the last.
    Completed,
}

/// A delta of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamDelta {
    /// The id of the response; empty if not reported.
    pub response_id: String,
    /// The id of the item.
    pub item_id: String,
    /// The content.
    pub piece: LivePiece,
    /// Whether the content is all there is so far, and not only what is new.
    pub is_snapshot: bool,
}

/// A piece of a response.
#[derive(Clone, Debug, PartialEq)]
pub enum LivePiece {
    /// Written text.
    Text(String),
    /// Spoken words.
    Transcript(String),
    /// Audio.
    Audio(Bytes),
    /// A tool call, or a piece of one.
    ToolCall(Box<ToolCall>),
}

impl LivePiece {
    /// The bytes of its content.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Transcript(text) => text.len(),
            Self::Audio(bytes) => bytes.len(),
            Self::ToolCall(call) => call.id.len() + call.name.len() + call.arguments.len(),
        }
    }

    /// Whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The end of a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamResponse {
    /// The id; empty if not reported.
    pub id: String,
    /// How it ended.
    pub status: ResponseStatus,
    /// Why, if reported.
    pub reason: String,
    /// The usage, if reported.
    pub usage: Option<Usage>,
    /// What was missing so far of its tool calls.
    pub calls: Vec<UpstreamDelta>,
    /// The other keys.
    pub extra: Object,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseStatus {
    /// It is complete.
    #[default]
    Completed,
    /// It was cancelled.
    Cancelled,
    /// It ended early.
    Incomplete,
    /// It failed.
    Failed,
    /// Another status.
    Other,
}

impl ResponseStatus {
    /// DashScope's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }
}

/// A refusal or an error that DashScope reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// The type: `invalid_request_error` leaves the session open.
    pub kind: String,
    /// The code.
    pub code: String,
    /// The message.
    pub message: String,
    /// The parameter.
    pub param: String,
    /// The id of the client event that was refused; empty if not reported.
    pub event_id: String,
}

impl UpstreamError {
    /// Whether the session continues.
    pub fn is_survivable(&self) -> bool {
        self.kind == "invalid_request_error"
    }
}
