//! The token counts that metrics record, out of all that DashScope may report.

use crate::chat::usage::{TokensDetails, Usage};

/// The kinds of tokens, as label values. The first two are totals; the others are parts of them.
pub const KINDS: [&str; 7] = [
    "input",
    "output",
    "cached",
    "reasoning",
    "audio",
    "image",
    "video",
];

/// The number of tokens of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens([Option<i32>; KINDS.len()]);

impl Tokens {
    /// Extracts the counts from DashScope's usage. A part may be reported in three places, which
    /// agree.
    pub fn of(usage: &Usage) -> Self {
        let details = [
            usage.input_tokens_details.as_ref(),
            usage.prompt_tokens_details.as_ref(),
        ];
        let output = usage.output_tokens_details.as_ref();
        let input =
            |pick: fn(&TokensDetails) -> Option<i32>| details.into_iter().flatten().find_map(pick);
        let both = |top: Option<i32>, pick: fn(&TokensDetails) -> Option<i32>| {
            let parts = [input(pick), output.and_then(pick)];
            let sum = parts.into_iter().flatten().reduce(i32::saturating_add);
            sum.or(top)
        };
        Self([
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens.or_else(|| input(|d| d.cached_tokens)),
            output.and_then(|d| d.reasoning_tokens),
            both(usage.audio_tokens, |d| d.audio_tokens),
            both(usage.image_tokens, |d| d.image_tokens),
            both(usage.video_tokens, |d| d.video_tokens),
        ])
    }

    /// Input tokens.
    pub fn input(&self) -> Option<i32> {
        let [input, ..] = self.0;
        input
    }

    /// Output tokens.
    pub fn output(&self) -> Option<i32> {
        let [_, output, ..] = self.0;
        output
    }

    /// Input tokens from DashScope's cache.
    pub fn cached(&self) -> Option<i32> {
        let [_, _, cached, ..] = self.0;
        cached
    }

    /// The counts in the order of [`KINDS`]. Missing and negative counts are 0.
    pub fn counts(&self) -> [u64; KINDS.len()] {
        self.0.map(|count| {
            count
                .and_then(|count| u64::try_from(count).ok())
                .unwrap_or(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_counts_are_found_in_every_place() {
        let details = |audio_tokens, cached_tokens, reasoning_tokens| TokensDetails {
            audio_tokens,
            cached_tokens,
            reasoning_tokens,
            ..TokensDetails::default()
        };
        let old = Usage {
            input_tokens: Some(786),
            output_tokens: Some(38),
            audio_tokens: Some(752),
            ..Usage::default()
        };
        assert_eq!(Tokens::of(&old).counts(), [786, 38, 0, 0, 752, 0, 0]);
        let new = Usage {
            input_tokens: Some(9),
            output_tokens: Some(3),
            input_tokens_details: Some(details(Some(4), None, None)),
            prompt_tokens_details: Some(details(None, Some(5), None)),
            output_tokens_details: Some(details(Some(2), None, Some(1))),
            ..Usage::default()
        };
        assert_eq!(Tokens::of(&new).counts(), [9, 3, 5, 1, 6, 0, 0]);
    }

    #[test]
    fn a_negative_count_counts_as_zero() {
        let usage = Usage {
            input_tokens: Some(-1),
            ..Usage::default()
        };
        assert_eq!(Tokens::of(&usage).counts(), [0; 7]);
        assert_eq!(Tokens::of(&usage).input(), Some(-1));
    }
}
