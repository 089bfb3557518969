//! Converts a usage to its message.

use crate::chat::usage::{PluginUsage, TokensDetails, Usage};

use super::pb;
use super::struct_value::fields;

/// The message of a usage.
pub(super) fn usage(usage: &Usage) -> pb::Usage {
    pb::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens,
        audio_tokens: usage.audio_tokens,
        image_tokens: usage.image_tokens,
        video_tokens: usage.video_tokens,
        cached_tokens: usage.cached_tokens,
        cache_creation_input_tokens: usage.cache_creation_input_tokens,
        cache_type: usage.cache_type.clone(),
        input_tokens_details: usage.input_tokens_details.as_ref().map(tokens_details),
        output_tokens_details: usage.output_tokens_details.as_ref().map(tokens_details),
        prompt_tokens_details: usage.prompt_tokens_details.as_ref().map(tokens_details),
        audio_seconds: usage.seconds.map(|seconds| seconds.0),
        characters: usage.characters,
        image_count: usage.image_count,
        width: usage.width,
        height: usage.height,
        plugins: usage.plugins.as_ref().map(plugins),
        extra: fields(usage.extra.clone()),
    }
}

fn tokens_details(details: &TokensDetails) -> pb::TokensDetails {
    pb::TokensDetails {
        text_tokens: details.text_tokens,
        audio_tokens: details.audio_tokens,
        image_tokens: details.image_tokens,
        video_tokens: details.video_tokens,
        reasoning_tokens: details.reasoning_tokens,
        cached_tokens: details.cached_tokens,
        cache_creation_input_tokens: details.cache_creation_input_tokens,
        cache_type: details.cache_type.clone(),
    }
}

fn plugins(plugins: &PluginUsage) -> pb::PluginUsage {
    let search = plugins.search.as_ref().map(|search| pb::SearchUsage {
        count: search.count,
        strategy: search.strategy.clone(),
    });
    pb::PluginUsage { search }
}
