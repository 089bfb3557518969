//! Warnings about calls that succeeded.

use serde::{Deserialize, Serialize};

/// The kind of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// A part of the answer has no field in the schema.
    AnswerPartDropped,
    /// The audio is longer than the model processes.
    AudioTruncated,
    /// The upstream of this model does not know an option.
    OptionIgnored,
}

impl Code {
    /// The code in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnswerPartDropped => "ANSWER_PART_DROPPED",
            Self::AudioTruncated => "AUDIO_TRUNCATED",
            Self::OptionIgnored => "OPTION_IGNORED",
        }
    }
}

/// A warning about a call that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Warning {
    /// The kind.
    pub code: Code,
    /// The path of the request field, or of the key of the answer; empty if it is about the whole
    /// call.
    pub field: String,
    /// The explanation.
    pub message: String,
}

impl Warning {
    /// A warning about a field.
    pub fn new(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            field: field.into(),
            message: message.into(),
        }
    }
}
