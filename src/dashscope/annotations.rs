//! Conversion of annotations, search results and log probabilities from DashScope's JSON types.

use super::answer_json;
use super::json_text::Text;
use crate::chat::document::{Document, Real};
use crate::chat::event::{Logprobs, SearchInfo, SearchResult, TokenLogprob};
use crate::chat::message::Annotation;

/// Converts an annotation.
pub(super) fn annotation(wire: answer_json::Annotation<'_>) -> Annotation {
    Annotation {
        kind: owned(wire.kind),
        language: owned(wire.language),
        emotion: owned(wire.emotion),
        extra: wire.extra,
    }
}

/// Converts the results of a web search.
pub(super) fn search_info(wire: answer_json::SearchInfo<'_>) -> SearchInfo {
    let result = |wire: answer_json::SearchResult<'_>| SearchResult {
        index: wire.index,
        title: owned(wire.title),
        url: owned(wire.url),
        site_name: owned(wire.site_name),
        icon: owned(wire.icon),
        extra: wire.extra,
    };
    SearchInfo {
        results: wire
            .results
            .unwrap_or_default()
            .into_iter()
            .map(result)
            .collect(),
        extra: wire.extra,
    }
}

/// Whether every earlier search result is also in the current list.
pub(super) fn has_all(now: &SearchInfo, before: &SearchInfo) -> bool {
    let has_result = |result: &SearchResult| now.results.iter().any(|r| r.url == result.url);
    let has_key = |(key, _): &(String, Document)| now.extra.value(key).is_some();
    before.results.iter().all(has_result) && before.extra.0.iter().all(has_key)
}

/// Converts log probabilities.
pub(super) fn logprobs(wire: answer_json::Logprobs<'_>) -> Logprobs {
    Logprobs {
        content: wire.content.map(tokens).unwrap_or_default(),
        extra: wire.extra,
    }
}

fn tokens(wire: Vec<answer_json::TokenLogprob<'_>>) -> Vec<TokenLogprob> {
    let token = |wire: answer_json::TokenLogprob<'_>| TokenLogprob {
        token: owned(wire.token),
        bytes: wire.bytes.unwrap_or_default(),
        logprob: wire.logprob.map(Real),
        top_logprobs: wire.top_logprobs.map(tokens).unwrap_or_default(),
        extra: wire.extra,
    };
    wire.into_iter().map(token).collect()
}

/// The text of an optional field, empty if absent.
pub(super) fn owned(text: Option<Text<'_>>) -> String {
    text.map(|Text(text)| text.into_owned()).unwrap_or_default()
}
