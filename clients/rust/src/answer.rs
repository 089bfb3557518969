//! What the model said.

use bytes::{Bytes, BytesMut};

use crate::v1::{
    Choice, ConverseResponse, FinishReason, Message, Timing, ToolCall, Usage, Warning, audio,
    content,
};

/// What the model said, whole. Of a stream, it is what all events add up to.
///
/// With `options.n` above 1 there are several answers: all of them are in [`choices`](Self::choices),
/// and everything else speaks of the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    text: String,
    message: Message,
    raw: ConverseResponse,
}

impl Answer {
    pub(crate) fn new(raw: ConverseResponse) -> Self {
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
        }
    }

    /// The texts of the answer, joined.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The reasoning of the answer.
    pub fn reasoning_text(&self) -> &str {
        &self.message.reasoning_text
    }

    /// The answer as a message, for [`crate::Conversation::append`].
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The tool calls of the answer.
    pub fn tool_calls(&self) -> &[ToolCall] {
        &self.message.tool_calls
    }

    /// The bytes of the answer's audio, joined; empty if there is none.
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

    /// Why the answer ended; unspecified for a word that this version does not know.
    pub fn finish_reason(&self) -> FinishReason {
        self.first()
            .map_or(FinishReason::Unspecified, Choice::finish_reason)
    }

    /// The finish reason as received from DashScope.
    pub fn raw_finish_reason(&self) -> &str {
        self.first()
            .map_or("", |choice| choice.raw_finish_reason.as_str())
    }

    /// What the call used, as DashScope counted.
    pub fn usage(&self) -> Option<&Usage> {
        self.raw.usage.as_ref()
    }

    /// The request id, as in the gateway's log.
    pub fn request_id(&self) -> &str {
        &self.raw.request_id
    }

    /// DashScope's request id, for its support.
    pub fn upstream_request_id(&self) -> &str {
        &self.raw.upstream_request_id
    }

    /// The model that answered.
    pub fn model(&self) -> &str {
        &self.raw.model
    }

    /// How long it took.
    pub fn timing(&self) -> Option<&Timing> {
        self.raw.timing.as_ref()
    }

    /// What the caller should know about the answer, for example that audio was cut. Usually empty.
    pub fn warnings(&self) -> &[Warning] {
        &self.raw.warnings
    }

    /// All answers, in the order of their index.
    pub fn choices(&self) -> &[Choice] {
        &self.raw.choices
    }

    /// All of it as the gateway sent it.
    pub fn raw(&self) -> &ConverseResponse {
        &self.raw
    }

    /// The same, taken out.
    pub fn into_raw(self) -> ConverseResponse {
        self.raw
    }

    fn first(&self) -> Option<&Choice> {
        self.raw.choices.iter().find(|choice| choice.index == 0)
    }
}
