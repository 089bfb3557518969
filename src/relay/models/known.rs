//! Descriptions of DashScope's models, for lists of models. They decide nothing about a call: a
//! model without a row is used like any other, and rows of retired models do no harm.
//!
//! As of November 2026, from DashScope's pages "Model list", "Audio understanding", "Qwen-Omni",
//! "Qwen-ASR", "Qwen-TTS", "Qwen-Image", "DashScope API reference" and "Model deprecation" on
//! help.aliyun.com, and from the SDKs and tools that call the newer models. Models whose retirement
//! date has passed are left out, as are dated snapshots of models that are listed.

use crate::chat::model::ModelModality::{self, Audio, Image, Text, Video};
use crate::upstream::UpstreamKind;

/// What DashScope documents of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownModel {
    /// The name.
    pub(super) name: &'static str,
    /// What it accepts. Empty: not documented.
    pub(super) input: &'static [ModelModality],
    /// What it generates. Empty: not documented.
    pub(super) output: &'static [ModelModality],
    /// Whether it supports only streams.
    pub(super) stream_only: bool,
    /// Whether only the OpenAI-compatible API has it.
    pub(super) compatible_only: bool,
    /// The tokens of input and output together.
    pub(super) context_tokens: Option<u32>,
}

const fn model(
    name: &'static str,
    input: &'static [ModelModality],
    output: &'static [ModelModality],
) -> KnownModel {
    KnownModel {
        name,
        input,
        output,
        stream_only: false,
        compatible_only: false,
        context_tokens: None,
    }
}

impl KnownModel {
    /// Whether this kind of upstream has it.
    pub(super) fn is_served_by(&self, kind: UpstreamKind) -> bool {
        match kind {
            UpstreamKind::DashScope => !self.compatible_only,
            UpstreamKind::DashScopeCompatible => true,
            UpstreamKind::OpenAi => false,
        }
    }

    const fn stream_only(self) -> Self {
        Self {
            stream_only: true,
            ..self
        }
    }

    const fn compatible_only(self) -> Self {
        Self {
            compatible_only: true,
            ..self
        }
    }

    const fn context(self, tokens: u32) -> Self {
        Self {
            context_tokens: Some(tokens),
            ..self
        }
    }
}

const ALL: &[ModelModality] = &[Text, Audio, Image, Video];
const SPEECH: &[ModelModality] = &[Text, Audio];
const VISION: &[ModelModality] = &[Text, Image, Video];
const PICTURE: &[ModelModality] = &[Text, Image];

/// The models, by family.
pub(super) const MODELS: &[KnownModel] = &[
    // Audio understanding.
    model("qwen-audio-turbo", SPEECH, &[Text]).context(8000),
    model("qwen-audio-turbo-latest", SPEECH, &[Text]).context(8192),
    model("qwen3-omni-30b-a3b-captioner", &[Audio], &[Text]).compatible_only(),
    // Speech recognition, whose text input is the context.
    model("fun-asr-flash-2026-06-15", SPEECH, &[Text]),
    model("qwen-audio-3.0-asr-flash", SPEECH, &[Text]),
    model("qwen-audio-3.1-asr-flash", SPEECH, &[Text]),
    model("qwen3-asr-flash", SPEECH, &[Text]),
    // Speech synthesis.
    model("qwen3-tts-flash", &[Text], &[Audio]),
    // All modalities.
    model("qwen3-omni-flash", ALL, SPEECH).stream_only(),
    model("qwen3.5-omni-flash", ALL, SPEECH).stream_only(),
    model("qwen3.5-omni-plus", ALL, SPEECH).stream_only(),
    model("qwen3.8-omni-flash", ALL, &[Text])
        .stream_only()
        .compatible_only(),
    // Images and video.
    model("kimi-k2.5", &[], &[Text]),
    model("kimi-k2.6", &[], &[Text]),
    model("qwen3-vl-flash", VISION, &[Text]),
    model("qwen3-vl-plus", VISION, &[Text]),
    model("qwen3.5-plus", VISION, &[Text]),
    model("qwen3.6-plus", VISION, &[Text]),
    model("qwen3.7-plus", VISION, &[Text]),
    model("qwen3.8-max", VISION, &[Text]),
    // Image generation.
    model("qwen-image-2.0", PICTURE, &[Image]),
    model("qwen-image-3.0", PICTURE, &[Image]),
    model("wan2.6-image", PICTURE, PICTURE),
    model("wan2.7-image", PICTURE, &[Image]),
    model("wan2.7-image-pro", PICTURE, &[Image]),
    model("z-image-turbo", &[Text], &[Image]),
];

/// The description of the model with exactly this name.
pub(super) fn find(name: &str) -> Option<&'static KnownModel> {
    MODELS.iter().find(|model| model.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_model_has_one_row_and_each_modality_once() {
        let names: BTreeSet<_> = MODELS.iter().map(|model| model.name).collect();
        assert_eq!(names.len(), MODELS.len());
        for model in MODELS {
            assert_eq!(find(model.name).unwrap().name, model.name);
            for list in [model.input, model.output] {
                assert!(list.is_sorted_by(|a, b| a < b), "{}", model.name);
            }
            assert!(!model.output.is_empty(), "{}", model.name);
        }
        assert!(find("qwen3-omni").is_none());
    }
}
