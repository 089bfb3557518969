//! The OpenAI-style dialects of the emulator.

use std::fmt;
use std::str::FromStr;

/// Whose OpenAI-style API is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// DashScope's compatible mode, which is always served at `/compatible-mode/v1`.
    DashScope,
    /// vLLM.
    #[default]
    Vllm,
    /// vLLM-Omni: audio in `message.audio`, streamed in `delta.content` with a `modality`.
    VllmOmni,
    /// SGLang.
    Sglang,
    /// SGLang-Omni: media in `audios`, `images` and `videos`; audio in `delta.audio`.
    SglangOmni,
    /// OpenAI.
    OpenAi,
}

/// The names of the dialects.
const NAMES: [(&str, Dialect); 6] = [
    ("vllm", Dialect::Vllm),
    ("vllm-omni", Dialect::VllmOmni),
    ("sglang", Dialect::Sglang),
    ("sglang-omni", Dialect::SglangOmni),
    ("openai", Dialect::OpenAi),
    ("dashscope", Dialect::DashScope),
];

impl Dialect {
    /// Whether the server is self-hosted: it needs no key and reports errors with integer codes.
    pub(super) fn is_self_hosted(self) -> bool {
        !matches!(self, Self::DashScope | Self::OpenAi)
    }

    /// Whether it is vLLM, with or without audio output.
    pub(super) fn is_vllm(self) -> bool {
        matches!(self, Self::Vllm | Self::VllmOmni)
    }

    /// Whether answers can have audio.
    pub(super) fn speaks(self) -> bool {
        !matches!(self, Self::Vllm | Self::Sglang)
    }

    /// The field of a message or delta with the reasoning, if there is one.
    pub(super) fn reasoning_field(self) -> Option<&'static str> {
        match self {
            Self::Vllm | Self::VllmOmni => Some("reasoning"),
            Self::DashScope | Self::Sglang => Some("reasoning_content"),
            Self::SglangOmni | Self::OpenAi => None,
        }
    }
}

/// The name of a dialect is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDialect;

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.map(|(name, _)| name);
        write!(f, "unknown dialect; known are {}", names.join(", "))
    }
}

impl std::error::Error for UnknownDialect {}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, dialect)| *dialect).ok_or(UnknownDialect)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = NAMES.iter().find(|(_, dialect)| dialect == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_parsed_from_its_name() {
        for (name, dialect) in NAMES {
            assert_eq!(name.parse(), Ok(dialect));
            assert_eq!(dialect.to_string(), name);
        }
        let error = "llama".parse::<Dialect>().unwrap_err();
        assert!(error.to_string().contains("vllm-omni"), "{error}");
    }
}
