//! What was said, for the operator who asks for it, in the form that traces have for it.
//!
//! Nothing comes here unless `telemetry.capture_content` is on. Media are named and never copied.

use serde::Serialize;

/// The most of one side of a conversation that is kept, in bytes of text. Receivers cut what is
/// longer, and spans wait in memory.
const MAX_BYTES: usize = 64 * 1024;

/// One side of a conversation.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Messages {
    messages: Vec<Message>,
    #[serde(skip)]
    bytes: usize,
}

/// Who said what.
#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    parts: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
}

/// A part of what was said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Words.
    Text {
        /// The words.
        content: String,
    },
    /// A thought.
    Reasoning {
        /// The words.
        content: String,
    },
    /// A medium that lies somewhere.
    Uri {
        /// What it is.
        modality: &'static str,
        /// Where, without the query, which may hold a signature.
        uri: String,
    },
    /// A medium that came with the call.
    Blob {
        /// What it is.
        modality: &'static str,
        /// How large it is. It is not copied.
        bytes: usize,
    },
    /// A tool that is called.
    ToolCall {
        /// The name of the call.
        id: String,
        /// The tool.
        name: String,
        /// What it is given, as JSON text.
        arguments: String,
    },
    /// What a tool said.
    ToolCallResponse {
        /// The name of the call.
        id: String,
        /// The words.
        response: String,
    },
}

impl Part {
    /// A medium at this address.
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

    /// The next piece of the same thing is added to it, if it is one.
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
    pub fn say(&mut self, role: &'static str, parts: impl Iterator<Item = Part>) {
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

    /// Adds a piece to one of the answers, which are counted from 0.
    pub fn hear(&mut self, choice: usize, piece: Part) {
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

    /// One of the answers has ended, for this reason.
    pub fn end(&mut self, choice: usize, reason: &str) {
        if let Some(message) = self.answer(choice) {
            message.finish_reason = Some(reason.to_owned());
        }
    }

    /// As JSON text.
    pub fn json(&self) -> String {
        // It fails for maps whose keys are no text alone, and there is no map in it.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn answer(&mut self, choice: usize) -> Option<&mut Message> {
        /// More answers to one call are not given by any model.
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
    fn pieces_become_one_message() {
        let mut heard = Messages::default();
        heard.hear(0, text("a"));
        heard.hear(0, text("\"b"));
        heard.hear(1, text("c"));
        heard.end(0, "stop");
        assert_eq!(
            heard.json(),
            concat!(
                r#"[{"role":"assistant","parts":[{"type":"text","content":"a\"b"}],"#,
                r#""finish_reason":"stop"},"#,
                r#"{"role":"assistant","parts":[{"type":"text","content":"c"}]}]"#,
            )
        );
    }

    #[test]
    fn signatures_and_bytes_of_media_are_left_out() {
        let uri = Part::uri("audio", "https://host/a.wav?Signature=canary#canary");
        let data = Part::uri("image", "data:image/png;base64,canary");
        let mut said = Messages::default();
        said.say("user", [uri, data].into_iter());
        let json = said.json();
        assert!(!json.contains("canary"), "{json}");
        assert!(json.contains("https://host/a.wav\""), "{json}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut heard = Messages::default();
        for _ in 0..1_000 {
            heard.hear(usize::MAX, text("x"));
            heard.hear(0, text(&"x".repeat(1_000)));
        }
        assert!(heard.json().len() < MAX_BYTES + 1_000);
    }
}
