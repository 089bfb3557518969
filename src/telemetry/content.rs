//! Message content in the form of OpenTelemetry's conventions.
//!
//! Recorded only with `telemetry.capture_content`. Media are described and never copied.

use serde::Serialize;

/// The most text of one side of a conversation, in bytes. Receivers truncate longer attributes, and
/// spans wait in memory.
const MAX_BYTES: usize = 64 * 1024;

/// One side of a conversation.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Messages {
    messages: Vec<Message>,
    #[serde(skip)]
    bytes: usize,
}

/// A message with its role.
#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    parts: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        content: String,
    },
    /// Reasoning.
    Reasoning {
        /// The text.
        content: String,
    },
    /// A medium with a URI.
    Uri {
        /// The kind of medium.
        modality: &'static str,
        /// The URI without its query, which may contain a signature.
        uri: String,
    },
    /// A medium that was sent inline.
    Blob {
        /// The kind of medium.
        modality: &'static str,
        /// Its size in bytes. The data are not copied.
        bytes: usize,
    },
    /// A tool call.
    ToolCall {
        /// The id of the tool call.
        id: String,
        /// The name of the tool.
        name: String,
        /// The arguments, as JSON text.
        arguments: String,
    },
    /// The result of a tool call.
    ToolCallResponse {
        /// The id of the tool call.
        id: String,
        /// The result.
        response: String,
    },
}

impl Part {
    /// A medium with a URI.
    pub fn uri(modality: &'static str, uri: &str) -> Self {
        let plain = uri.split(['?', '#']).next().unwrap_or_default();
        match plain.split_once("data:") {
            Some(("", _)) => Self::Blob {
                modality,
                bytes: uri.len(),
            },
            _ => Self::Uri {
                modality,
                uri: plain.to_owned(),
            },
        }
    }

    /// Appends the next chunk if it continues this part.
    fn extend(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Text { content }, Self::Text { content: more })
            | (Self::Reasoning { content }, Self::Reasoning { content: more }) => {
                content.push_str(more);
                true
            }
            (
                Self::ToolCall {
                    name, arguments, ..
                },
                Self::ToolCall {
                    id,
                    name: more_name,
                    arguments: more,
                },
            ) if id.is_empty() => {
                name.push_str(more_name);
                arguments.push_str(more);
                true
            }
            _ => false,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text { content } | Self::Reasoning { content } => content.len(),
            Self::Uri { uri, .. } => uri.len(),
            Self::Blob { .. } => 0,
            Self::ToolCall { arguments, .. } => arguments.len(),
            Self::ToolCallResponse { response, .. } => response.len(),
        }
    }
}

impl Messages {
    /// Adds a message.
    pub fn add(&mut self, role: &'static str, parts: impl Iterator<Item = Part>) {
        let mut kept = Vec::new();
        for part in parts {
            if self.has_room(&part) {
                kept.push(part);
            }
        }
        self.messages.push(Message {
            role,
            parts: kept,
            finish_reason: None,
        });
    }

    /// Appends a chunk to a choice, counted from 0.
    pub fn append(&mut self, choice: usize, piece: Part) {
        if !self.has_room(&piece) {
            return;
        }
        if let Some(message) = self.answer(choice)
            && !message
                .parts
                .last_mut()
                .is_some_and(|last| last.extend(&piece))
        {
            message.parts.push(piece);
        }
    }

    /// Records the finish reason of a choice.
    pub fn end(&mut self, choice: usize, reason: &str) {
        if let Some(message) = self.answer(choice) {
            message.finish_reason = Some(reason.to_owned());
        }
    }

    /// The messages as JSON text.
    pub fn json(&self) -> String {
        // Serialization fails only for maps whose keys are not text, and there are none.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn answer(&mut self, choice: usize) -> Option<&mut Message> {
        /// The most choices of an answer that are recorded, above what models give.
        const MAX_CHOICES: usize = 8;
        while self.messages.len() <= choice.min(MAX_CHOICES) {
            self.messages.push(Message {
                role: "assistant",
                parts: Vec::new(),
                finish_reason: None,
            });
        }
        self.messages.get_mut(choice)
    }

    fn has_room(&mut self, part: &Part) -> bool {
        self.bytes += part.len();
        self.bytes <= MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Part {
        Part::Text {
            content: content.to_owned(),
        }
    }

    #[test]
    fn chunks_become_one_message() {
        let mut messages = Messages::default();
        messages.append(0, text("a"));
        messages.append(0, text("\"b"));
        messages.append(1, text("c"));
        messages.end(0, "stop");
        assert_eq!(
            messages.json(),
            concat!(
                r#"[{"role":"assistant","parts":[{"type":"text","content":"a\"b"}],"#,
                r#""finish_reason":"stop"},"#,
                r#"{"role":"assistant","parts":[{"type":"text","content":"c"}]}]"#,
            )
        );
    }

    #[test]
    fn signatures_and_data_of_media_are_left_out() {
        let uri = Part::uri("audio", "https://host/a.wav?Signature=canary#canary");
        let data = Part::uri("image", "data:image/png;base64,canary");
        let mut messages = Messages::default();
        messages.add("user", [uri, data].into_iter());
        let json = messages.json();
        assert!(!json.contains("canary"), "{json}");
        assert!(json.contains("https://host/a.wav\""), "{json}");
    }

    #[test]
    fn recorded_content_is_bounded() {
        let mut messages = Messages::default();
        for _ in 0..1_000 {
            messages.append(usize::MAX, text("x"));
            messages.append(0, text(&"x".repeat(1_000)));
        }
        assert!(messages.json().len() < MAX_BYTES + 1_000);
    }
}
