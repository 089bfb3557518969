//! The usage of a session: the sum of that of its responses, and the audio in both directions.

use std::time::Duration;

use crate::chat::document::{Document, Object, Real};
use crate::chat::usage::{PluginUsage, SearchUsage, TokensDetails, Usage};

/// The bytes of a sample of PCM.
const SAMPLE: u64 = 2;

/// The weight of the counts that no field holds, beyond which further ones are not added.
const MAX_EXTRA: usize = 64 << 10;

/// The usage of a session so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// The sum of the usage of all responses.
    pub(super) usage: Option<Usage>,
    /// The number of responses that have ended.
    pub(super) responses: u32,
    /// The responses that were cancelled by the caller or its speech.
    pub(super) cancelled: u32,
    /// The bytes of input audio.
    pub(super) input_bytes: u64,
    /// The bytes of output audio.
    pub(super) output_bytes: u64,
}

impl Totals {
    /// Adds the usage of a response.
    pub(super) fn add(&mut self, usage: &Usage) {
        match &mut self.usage {
            None => self.usage = Some(usage.clone()),
            Some(total) => add(total, usage),
        }
    }
}

/// The playing time of PCM.
pub(super) fn duration(bytes: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1)) * SAMPLE;
    Duration::from_millis(bytes.saturating_mul(1000) / rate)
}

/// The bytes of PCM of this playing time.
pub(super) fn bytes(duration: Duration, rate: u32) -> usize {
    let millis = usize::try_from(duration.as_millis()).unwrap_or(usize::MAX);
    let rate = usize::try_from(rate).unwrap_or(usize::MAX);
    // Whole samples.
    (millis.saturating_mul(rate) / 1000).saturating_mul(2)
}

fn add(total: &mut Usage, usage: &Usage) {
    for (sum, count) in [
        (&mut total.input_tokens, usage.input_tokens),
        (&mut total.output_tokens, usage.output_tokens),
        (&mut total.total_tokens, usage.total_tokens),
        (&mut total.audio_tokens, usage.audio_tokens),
        (&mut total.image_tokens, usage.image_tokens),
        (&mut total.video_tokens, usage.video_tokens),
        (&mut total.cached_tokens, usage.cached_tokens),
        (
            &mut total.cache_creation_input_tokens,
            usage.cache_creation_input_tokens,
        ),
        (&mut total.characters, usage.characters),
        (&mut total.image_count, usage.image_count),
    ] {
        count_up(sum, count);
    }
    for (sum, details) in [
        (&mut total.input_tokens_details, &usage.input_tokens_details),
        (
            &mut total.output_tokens_details,
            &usage.output_tokens_details,
        ),
        (
            &mut total.prompt_tokens_details,
            &usage.prompt_tokens_details,
        ),
    ] {
        if let Some(details) = details {
            add_details(sum.get_or_insert_default(), details);
        }
    }
    if let Some(Real(seconds)) = usage.seconds {
        let Real(sum) = total.seconds.unwrap_or(Real(0.0));
        total.seconds = Some(Real(sum + seconds));
    }
    if let Some(SearchUsage { count, strategy }) = usage
        .plugins
        .as_ref()
        .and_then(|plugins| plugins.search.as_ref())
    {
        let plugins = total.plugins.get_or_insert_with(PluginUsage::default);
        let search = plugins.search.get_or_insert_with(SearchUsage::default);
        count_up(&mut search.count, *count);
        if strategy.is_some() {
            search.strategy.clone_from(strategy);
        }
    }
    if total.extra.weight() + usage.extra.weight() <= MAX_EXTRA {
        add_extra(&mut total.extra, &usage.extra);
    }
}

fn add_details(total: &mut TokensDetails, details: &TokensDetails) {
    for (sum, count) in [
        (&mut total.text_tokens, details.text_tokens),
        (&mut total.audio_tokens, details.audio_tokens),
        (&mut total.image_tokens, details.image_tokens),
        (&mut total.video_tokens, details.video_tokens),
        (&mut total.reasoning_tokens, details.reasoning_tokens),
        (&mut total.cached_tokens, details.cached_tokens),
        (
            &mut total.cache_creation_input_tokens,
            details.cache_creation_input_tokens,
        ),
    ] {
        count_up(sum, count);
    }
}

fn count_up(sum: &mut Option<i32>, count: Option<i32>) {
    if let Some(count) = count {
        *sum = Some(sum.unwrap_or(0).saturating_add(count));
    }
}

/// Numbers are added, and other values are those of the last response.
fn add_extra(total: &mut Object, extra: &Object) {
    for (key, value) in &extra.0 {
        let known = total.0.iter_mut().find(|(name, _)| name == key);
        match (known, value) {
            (Some((_, Document::Number(Real(sum)))), Document::Number(Real(count))) => {
                *sum += count;
            }
            (Some((_, Document::Object(sum))), Document::Object(count)) => add_extra(sum, count),
            (Some((_, known)), value) => known.clone_from(value),
            (None, value) => total.0.push((key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_and_a_count_that_no_response_had_stays_unset() {
        let usage = Usage {
            input_tokens: Some(3),
            output_tokens_details: Some(TokensDetails {
                audio_tokens: Some(2),
                ..TokensDetails::default()
            }),
            extra: Object(vec![("duration".to_owned(), Document::Number(Real(1.5)))]),
            ..Usage::default()
        };
        let mut totals = Totals::default();
        assert_eq!(totals.usage, None);
        totals.add(&usage);
        totals.add(&usage);
        let total = totals.usage.unwrap();
        assert_eq!(total.input_tokens, Some(6));
        assert_eq!(total.output_tokens, None);
        assert_eq!(total.output_tokens_details.unwrap().audio_tokens, Some(4));
        assert_eq!(
            total.extra.value("duration"),
            Some(&Document::Number(Real(3.0)))
        );
    }

    #[test]
    fn playing_time_and_bytes_of_pcm_agree() {
        assert_eq!(bytes(Duration::from_millis(100), 16_000), 3_200);
        assert_eq!(duration(3_200, 16_000), Duration::from_millis(100));
        assert_eq!(bytes(Duration::from_millis(1), 11_025) % 2, 0);
    }
}
