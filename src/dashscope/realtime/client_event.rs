//! The events that are sent to DashScope, and their frames.

use std::fmt;

use crate::chat::live_session::{ResponseOptions, SessionChanges};

/// An event that is sent after the setup.
#[derive(Clone, Copy, Debug)]
pub enum ClientEvent<'a> {
    /// Changes the configuration.
    Update(&'a SessionChanges),
    /// Appends audio.
    Audio(&'a [u8]),
    /// Appends a JPEG image.
    Image(&'a [u8]),
    /// Adds a text message of the user.
    UserText(&'a str),
    /// Adds a text message of the model, to restore a conversation.
    AssistantText(&'a str),
    /// Ends the turn.
    Commit,
    /// Discards audio and images that are not committed.
    Clear,
    /// Requests a response.
    CreateResponse(&'a ResponseOptions),
    /// Cancels the response that is running.
    CancelResponse,
    /// Adds the result of a tool call.
    ToolResult {
        /// The id of the call.
        call_id: &'a str,
        /// The result.
        output: &'a str,
    },
    /// Removes an item.
    DeleteItem(&'a str),
    /// Appends text to be spoken.
    SynthesisText(&'a str),
    /// Speaks the text so far.
    SynthesisCommit,
    /// Discards text that is not spoken yet.
    SynthesisClear,
}

/// The id of a client event. DashScope names it when it refuses the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// The prefix of ids.
const PREFIX: &str = "event_";

impl EventId {
    /// The longest id.
    pub(super) const MAX_LEN: usize = PREFIX.len() + 20;

    /// Reads an id that DashScope reports. `None` if it is not one of these.
    pub fn parse(id: &str) -> Option<Self> {
        let digits = id.strip_prefix(PREFIX)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| is_plain);
        number.map(Self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// A text frame of the WebSocket.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its JSON.
    pub text: String,
    /// The id of the event in it. Ids of a connection are consecutive, from 1.
    pub event_id: EventId,
}

/// Without the text, which has content.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("event_id", &self.event_id)
            .field("length", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// How a session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishWay {
    /// This frame is sent, and `session.finished` follows, for which the wait must be bounded: some
    /// models refuse the event.
    Acknowledged(Frame),
    /// This frame is sent, and nothing has to follow.
    Unacknowledged(Frame),
    /// The connection is closed, after the last response.
    Close,
}
