//! The answer of a model.

use bytes::{Bytes, BytesMut};

use crate::headers::Headers;
use crate::v1::{
    Choice, ConverseResponse, FinishReason, HistoryUsed, Message, Timing, ToolCall, Usage, Warning,
    audio, content,
};

/// The complete answer of a model: the response of a unary call, or the accumulated events of a
/// stream.
///
/// If `options.n` is above 1, there are several answers: all of them are in
/// [`choices`](Self::choices), and the other methods return values of the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    text: String,
    message: Message,
    raw: ConverseResponse,
    headers: Headers,
}

impl Answer {
    pub(crate) fn new(raw: ConverseResponse, headers: Headers) -> Self {
        let first = raw.choices.iter().find(|choice| choice.index == 0);
        let message = first.and_then(|choice| choice.message.clone());
        let message = message.unwrap_or_default();
        let texts = message.content.iter().filter_map(|part| match &part.kind {
            Some(content::Kind::Text(text)) => Some(text.as_str()),
            _ => None,
        });
        Self {
            text: texts.collect(),
            message,
            raw,
            headers,
        }
    }

    /// Returns the texts of the answer, joined.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the reasoning of the answer.
    pub fn reasoning_text(&self) -> &str {
        &self.message.reasoning_text
    }

    /// Returns the answer as a message, for [`crate::Conversation::append`].
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the tool calls of the answer.
    pub fn tool_calls(&self) -> &[ToolCall] {
        &self.message.tool_calls
    }

    /// Returns the bytes of the answer's audio, joined; empty if there is none.
    pub fn audio(&self) -> Bytes {
        let mut pieces =
            self.message
                .content
                .iter()
                .filter_map(|part| match part.kind.as_ref()? {
                    content::Kind::Audio(audio) => match audio.source.as_ref()? {
                        audio::Source::Data(bytes) => Some(bytes.clone()),
                        audio::Source::Uri(_) => None,
                    },
                    _ => None,
                });
        let first = pieces.next().unwrap_or_default();
        match pieces.next() {
            None => first,
            Some(second) => {
                let mut joined = BytesMut::from(first);
                for piece in [second].into_iter().chain(pieces) {
                    joined.extend_from_slice(&piece);
                }
                joined.freeze()
            }
        }
    }

    /// Returns why the answer ended; unspecified for a value that this version does not define.
    pub fn finish_reason(&self) -> FinishReason {
        self.first()
            .map_or(FinishReason::Unspecified, Choice::finish_reason)
    }

    /// Returns the finish reason as received from DashScope.
    pub fn raw_finish_reason(&self) -> &str {
        self.first()
            .map_or("", |choice| choice.raw_finish_reason.as_str())
    }

    /// Returns the usage of the call, as counted by DashScope.
    pub fn usage(&self) -> Option<&Usage> {
        self.raw.usage.as_ref()
    }

    /// Returns the request id, as in the gateway's log.
    pub fn request_id(&self) -> &str {
        &self.raw.request_id
    }

    /// Returns DashScope's request id, for its support.
    pub fn upstream_request_id(&self) -> &str {
        &self.raw.upstream_request_id
    }

    /// Returns the model that answered, after the gateway's mapping.
    pub fn model(&self) -> &str {
        &self.raw.model
    }

    /// Returns how long the call took, as measured by the gateway.
    pub fn timing(&self) -> Option<&Timing> {
        self.raw.timing.as_ref()
    }

    /// Returns the warnings, for example that audio was truncated. Usually empty.
    pub fn warnings(&self) -> &[Warning] {
        &self.raw.warnings
    }

    /// Returns all answers, in the order of their index.
    pub fn choices(&self) -> &[Choice] {
        &self.raw.choices
    }

    /// Returns the turn of a stored conversation, and the history that was sent with it.
    pub fn history_used(&self) -> Option<&HistoryUsed> {
        self.raw.history_used.as_ref()
    }

    /// Returns the metadata of the response: its headers and trailers, without binary ones.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the response of the schema.
    pub fn raw(&self) -> &ConverseResponse {
        &self.raw
    }

    /// Converts the answer into the response of the schema.
    pub fn into_raw(self) -> ConverseResponse {
        self.raw
    }

    fn first(&self) -> Option<&Choice> {
        self.raw.choices.iter().find(|choice| choice.index == 0)
    }
}
