//! The counts of an answer that are watched, out of all that DashScope may say.

use crate::chat::usage::{TokensDetails, Usage};

/// The kinds of tokens, as labels. All are in the first two; the others are parts of these.
pub const KINDS: [&str; 7] = [
    "input",
    "output",
    "cached",
    "reasoning",
    "audio",
    "image",
    "video",
];

/// How many tokens of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens([Option<i32>; KINDS.len()]);

impl Tokens {
    /// Out of what DashScope counted. A part may be counted at three places, which agree.
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

    /// The tokens of the question.
    pub fn input(&self) -> Option<i32> {
        let [input, ..] = self.0;
        input
    }

    /// The tokens of the answer.
    pub fn output(&self) -> Option<i32> {
        let [_, output, ..] = self.0;
        output
    }

    /// The tokens of the question that were there from an earlier one.
    pub fn cached(&self) -> Option<i32> {
        let [_, _, cached, ..] = self.0;
        cached
    }

    /// In the order of [`KINDS`]. What was not counted, or counted below zero, is 0.
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
    fn parts_are_found_wherever_a_model_writes_them() {
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
    fn a_count_below_zero_counts_nothing() {
        let usage = Usage {
            input_tokens: Some(-1),
            ..Usage::default()
        };
        assert_eq!(Tokens::of(&usage).counts(), [0; 7]);
        assert_eq!(Tokens::of(&usage).input(), Some(-1));
    }
}
