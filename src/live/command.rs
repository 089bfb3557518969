//! What a session asks DashScope for.

use bytes::Bytes;

use crate::chat::live_session::{ResponseOptions, SessionChanges};
use crate::upstream::ClientEvent;

/// An event for DashScope.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Changes the configuration.
    Update(Box<SessionChanges>),
    /// Appends audio.
    Audio(Bytes),
    /// Appends an image.
    Image(Bytes),
    /// Adds a message of the user.
    UserText(String),
    /// Adds a message of the model, of an earlier connection.
    AssistantText(String),
    /// Commits the input.
    Commit,
    /// Discards the input.
    Clear,
    /// Requests a response.
    CreateResponse(ResponseOptions),
    /// Cancels the response.
    CancelResponse,
    /// Adds the result of a tool call.
    ToolResult {
        /// The id of the call.
        call_id: String,
        /// The result.
        output: String,
    },
    /// Removes an item.
    DeleteItem(String),
    /// Appends text to be spoken.
    SynthesisText(String),
    /// Speaks the text so far.
    SynthesisCommit,
    /// Discards text that is not spoken.
    SynthesisClear,
}

impl Command {
    /// The event to be encoded.
    pub(super) fn event(&self) -> ClientEvent<'_> {
        match self {
            Self::Update(changes) => ClientEvent::Update(changes),
            Self::Audio(audio) => ClientEvent::Audio(audio),
            Self::Image(image) => ClientEvent::Image(image),
            Self::UserText(text) => ClientEvent::UserText(text),
            Self::AssistantText(text) => ClientEvent::AssistantText(text),
            Self::Commit => ClientEvent::Commit,
            Self::Clear => ClientEvent::Clear,
            Self::CreateResponse(options) => ClientEvent::CreateResponse(options),
            Self::CancelResponse => ClientEvent::CancelResponse,
            Self::ToolResult { call_id, output } => ClientEvent::ToolResult { call_id, output },
            Self::DeleteItem(id) => ClientEvent::DeleteItem(id),
            Self::SynthesisText(text) => ClientEvent::SynthesisText(text),
            Self::SynthesisCommit => ClientEvent::SynthesisCommit,
            Self::SynthesisClear => ClientEvent::SynthesisClear,
        }
    }
}
