//! Warnings: what a caller should know about a call that succeeded.

/// What kind of warning it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A part of the answer has no place in the schema.
    AnswerPartDropped,
    /// The model hears less audio than was sent.
    AudioTruncated,
    /// A parameter was sent with another value than the caller's.
    ParameterAdjusted,
}

impl Code {
    /// The code as callers see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnswerPartDropped => "ANSWER_PART_DROPPED",
            Self::AudioTruncated => "AUDIO_TRUNCATED",
            Self::ParameterAdjusted => "PARAMETER_ADJUSTED",
        }
    }
}

/// Something that the caller should know about a call that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    /// What kind of warning it is.
    pub code: Code,
    /// The path of the field of the request, or of the key of the answer, that it is about; empty
    /// when it is about the whole call.
    pub field: String,
    /// An explanation for people.
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
