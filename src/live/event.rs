//! The events that a caller of a live session receives.

use std::sync::Arc;
use std::time::Duration;

use crate::chat::document::Object;
use crate::chat::live_event::{LivePiece, ResponseStatus, SpeechBoundary, UpstreamSession};
use crate::chat::live_session::AudioFormat;
use crate::chat::stored::HistoryUsed;
use crate::chat::usage::Usage;
use crate::error::Reason;
use crate::secret::Secret;

/// The size of an event beside its content.
const EVENT: usize = 128;

/// An event that a caller receives.
#[derive(Clone, Debug)]
pub enum LiveEvent {
    /// The session has started.
    Started(Box<SessionStarted>),
    /// The configuration was changed.
    Updated(Object),
    /// The caller started to speak.
    SpeechStarted(SpeechBoundary),
    /// The caller stopped speaking.
    SpeechStopped(SpeechBoundary),
    /// The input became an item.
    Committed {
        /// Its id.
        item_id: String,
    },
    /// A transcript of the caller's speech.
    Transcript {
        /// Whether it is of speech that is no turn.
        is_ambient: bool,
        /// All words so far.
        transcript: Transcript,
    },
    /// A response has started.
    ResponseStarted {
        /// Its id.
        response_id: Arc<str>,
    },
    /// A delta of a response: only what is new.
    Delta {
        /// The id of the response.
        response_id: Arc<str>,
        /// The id of the item.
        item_id: Arc<str>,
        /// The content.
        piece: LivePiece,
    },
    /// A response has ended.
    ResponseCompleted(Box<ResponseCompleted>),
    /// Something was refused or changed.
    Warning(Box<SessionWarning>),
    /// The session will end soon.
    Ending {
        /// The time left.
        time_left: Duration,
        /// Why.
        reason: Reason,
    },
    /// The session has ended.
    Ended(Box<SessionEnded>),
}

/// The start of a session.
#[derive(Clone, Debug, Default)]
pub struct SessionStarted {
    /// The id of the session.
    pub session_id: Arc<str>,
    /// The secret with which it can be resumed.
    pub resume_token: Secret,
    /// The model that answers.
    pub model: Arc<str>,
    /// DashScope's session.
    pub upstream: UpstreamSession,
    /// The format of input audio.
    pub input_audio: AudioFormat,
    /// The format of output audio.
    pub output_audio: AudioFormat,
    /// Whether it was resumed.
    pub resumed: bool,
    /// What was sent of the history of its stored conversation.
    pub history: Option<HistoryUsed>,
}

/// All words of a transcript so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The id of the item.
    pub item_id: String,
    /// The words that are settled.
    pub text: String,
    /// The words that may change.
    pub tentative: String,
    /// Whether it is complete.
    pub is_final: bool,
    /// The language, if reported.
    pub language: String,
    /// The emotion, if reported.
    pub emotion: String,
}

/// The turn of a stored conversation that a response is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseTurn {
    /// None.
    #[default]
    None,
    /// One that is not stored yet. The end of the response is not reported before it is.
    Unstored,
    /// The one with this number.
    Stored(i64),
}

/// The end of a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseCompleted {
    /// Its id.
    pub response_id: Arc<str>,
    /// How it ended.
    pub status: ResponseStatus,
    /// Its usage.
    pub usage: Option<Usage>,
    /// Why it ended.
    pub reason: String,
    /// From the end of the caller's speech, or the request, to the first audio.
    pub first_audio_latency: Option<Duration>,
    /// The turn that it is.
    pub turn: ResponseTurn,
    /// The other keys.
    pub extra: Object,
}

/// A warning in a session that continues.
#[derive(Clone, Debug, Default)]
pub struct SessionWarning {
    /// The reason, if it is an error.
    pub reason: Option<Reason>,
    /// The code.
    pub code: String,
    /// The message.
    pub message: String,
    /// DashScope's own message, if it has one. It may contain content, or the operator's account.
    pub upstream_message: String,
    /// The parameter.
    pub field: String,
    /// The position of the refused message in the caller's stream; 0 if unknown.
    pub refused_message: u32,
    /// The unknown event.
    pub extra: Object,
}

/// The end of a session.
#[derive(Clone, Debug, Default)]
pub struct SessionEnded {
    /// The usage of all responses.
    pub usage: Option<Usage>,
    /// The duration of input audio.
    pub input_audio: Duration,
    /// The duration of output audio.
    pub output_audio: Duration,
    /// The number of responses.
    pub responses: u32,
}

impl LiveEvent {
    /// About the bytes of memory that it takes.
    pub(super) fn weight(&self) -> usize {
        EVENT
            + match self {
                Self::Delta { piece, .. } => piece.len(),
                Self::Transcript { transcript, .. } => {
                    transcript.text.len() + transcript.tentative.len()
                }
                Self::Warning(warning) => {
                    let texts = [&warning.message, &warning.upstream_message, &warning.field];
                    texts.into_iter().map(String::len).sum::<usize>() + warning.extra.weight()
                }
                Self::Updated(session) => session.weight(),
                Self::ResponseCompleted(end) => EVENT + end.reason.len() + end.extra.weight(),
                Self::Started(_)
                | Self::SpeechStarted(_)
                | Self::SpeechStopped(_)
                | Self::Committed { .. }
                | Self::ResponseStarted { .. }
                | Self::Ending { .. }
                | Self::Ended(_) => EVENT,
            }
    }

    /// Whether it is not reported until a turn is stored.
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Self::ResponseCompleted(end) if end.turn == ResponseTurn::Unstored)
    }

    /// The turn that it waits for was stored with this number.
    pub(super) fn stored_as(&mut self, number: i64) {
        if let Self::ResponseCompleted(end) = self {
            end.turn = ResponseTurn::Stored(number);
        }
    }

    /// Whether it waits for the end of an earlier response that is held.
    pub(super) fn follows_responses(&self) -> bool {
        match self {
            Self::ResponseStarted { .. }
            | Self::Delta { .. }
            | Self::ResponseCompleted(_)
            | Self::Ended(_) => true,
            Self::Started(_)
            | Self::Updated(_)
            | Self::SpeechStarted(_)
            | Self::SpeechStopped(_)
            | Self::Committed { .. }
            | Self::Transcript { .. }
            | Self::Warning(_)
            | Self::Ending { .. } => false,
        }
    }

    /// The event with DashScope's own message, for callers that may see it.
    pub fn with_upstream_message(mut self) -> Self {
        if let Self::Warning(warning) = &mut self
            && !warning.upstream_message.is_empty()
        {
            warning.message = std::mem::take(&mut warning.upstream_message);
        }
        self
    }
}
