//! The usage of a call, as reported by DashScope.

use super::document::{Object, Real};
use serde::{Deserialize, Serialize};

/// The usage of a call. Models report different counts; a count that was not reported is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's count of the same name, see proto"
)]
pub struct Usage {
    pub input_tokens: Option<i32>,
    pub output_tokens: Option<i32>,
    pub total_tokens: Option<i32>,
    pub audio_tokens: Option<i32>,
    pub image_tokens: Option<i32>,
    pub video_tokens: Option<i32>,
    pub cached_tokens: Option<i32>,
    pub cache_creation_input_tokens: Option<i32>,
    pub cache_type: Option<String>,
    pub input_tokens_details: Option<TokensDetails>,
    pub output_tokens_details: Option<TokensDetails>,
    pub prompt_tokens_details: Option<TokensDetails>,
    pub seconds: Option<Real>,
    pub characters: Option<i32>,
    pub image_count: Option<i32>,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub plugins: Option<PluginUsage>,
    /// Unknown keys, and values that do not fit their field. Keys inside an object that has a field
    /// stay in that object.
    pub extra: Object,
}

impl Usage {
    /// All tokens, input and output, as far as reported.
    pub fn tokens(&self) -> u32 {
        let sum = |a: Option<i32>, b: Option<i32>| a.unwrap_or(0).saturating_add(b.unwrap_or(0));
        let total = self.total_tokens;
        let total = total.unwrap_or_else(|| sum(self.input_tokens, self.output_tokens));
        u32::try_from(total).unwrap_or(0)
    }
}

/// A count of tokens by modality.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "every field is DashScope's count of the same name, see proto"
)]
pub struct TokensDetails {
    pub text_tokens: Option<i32>,
    pub audio_tokens: Option<i32>,
    pub image_tokens: Option<i32>,
    pub video_tokens: Option<i32>,
    pub reasoning_tokens: Option<i32>,
    pub cached_tokens: Option<i32>,
    pub cache_creation_input_tokens: Option<i32>,
    pub cache_type: Option<String>,
}

/// The usage of plug-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginUsage {
    /// Web searches.
    pub search: Option<SearchUsage>,
}

/// The usage of web search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchUsage {
    /// The number of searches.
    pub count: Option<i32>,
    /// The strategy used.
    pub strategy: Option<String>,
}
