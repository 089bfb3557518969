//! Removes repeated log probabilities. If texts are cumulative, the tokens repeat from the start
//! with each event, and each is emitted once. See `delta_detector.rs`.

use super::delta_detector::{TextForm, TextFormError};
use crate::chat::dropped_parts::Losses;
use crate::chat::event::{Logprobs, TokenLogprob};
use crate::chat::extra::Extra;

/// The maximum number of tokens withheld while it is unknown whether they repeat.
const MAX_WAITING_TOKENS: usize = 65_536;

/// The log probabilities of one choice.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// The emitted tokens. Kept while the texts may be cumulative.
    given: Vec<TokenLogprob>,
    /// Tokens received while the form of the texts was unknown.
    waiting: Vec<Logprobs>,
    waiting_tokens: usize,
    /// The unknown keys.
    extra: Extra,
}

impl Tokens {
    /// Handles those of an event. Returns what is new. `choice` is the index of the choice.
    pub(super) fn take(
        &mut self,
        mut next: Logprobs,
        form: TextForm,
        (choice, losses): (i32, &mut Losses),
    ) -> Result<Option<Logprobs>, TextFormError> {
        let extra = std::mem::take(&mut next.extra);
        let new = self.decode_tokens(next, form)?;
        if extra.is_empty() {
            return Ok(new);
        }
        let mut new = new.unwrap_or_default();
        let at = format_args!("output.choices[{choice}].logprobs");
        new.extra = self.extra.show(extra, at, losses);
        Ok((new != Logprobs::default()).then_some(new))
    }

    fn decode_tokens(
        &mut self,
        next: Logprobs,
        form: TextForm,
    ) -> Result<Option<Logprobs>, TextFormError> {
        match form {
            TextForm::Unknown if !self.given.is_empty() || !self.waiting.is_empty() => {
                self.waiting_tokens += next.content.len();
                self.waiting.push(next);
                match self.waiting_tokens > MAX_WAITING_TOKENS {
                    true => Err(TextFormError::TooLong),
                    false => Ok(None),
                }
            }
            TextForm::Revised => {
                // Only the last ones belong to the final text.
                self.waiting = vec![next];
                Ok(None)
            }
            TextForm::Unknown | TextForm::Pieces | TextForm::Cumulative => {
                self.waiting.push(next);
                Ok(self.flush(form))
            }
        }
    }

    /// Returns withheld tokens once the form is final.
    pub(super) fn finish(&mut self, form: TextForm) -> Option<Logprobs> {
        let new = self.flush(form);
        let extra = self.extra.waiting();
        if extra.is_empty() {
            return new;
        }
        let mut new = new.unwrap_or_default();
        new.extra = extra;
        Some(new)
    }

    /// Reports losses in the unknown keys.
    pub(super) fn report(&self, choice: i32, losses: &mut Losses) {
        let at = format_args!("output.choices[{choice}].logprobs");
        self.extra.report(at, losses);
    }

    fn flush(&mut self, form: TextForm) -> Option<Logprobs> {
        let mut new = Logprobs::default();
        for next in std::mem::take(&mut self.waiting) {
            let mut content = next.content;
            if form != TextForm::Pieces {
                if content.starts_with(&self.given) {
                    content.drain(..self.given.len());
                }
                self.given.extend_from_slice(&content);
            }
            new.content.extend(content);
        }
        self.waiting_tokens = 0;
        (new != Logprobs::default()).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logprobs(tokens: &str) -> Logprobs {
        let token = |token: char| TokenLogprob {
            token: token.to_string(),
            ..TokenLogprob::default()
        };
        Logprobs {
            content: tokens.chars().map(token).collect(),
            ..Logprobs::default()
        }
    }

    fn read(events: &[(&str, TextForm)], end: TextForm) -> String {
        let mut tokens = Tokens::default();
        let mut all = Vec::new();
        for (event, form) in events {
            let mut losses = Losses::default();
            let at = (0, &mut losses);
            all.extend(tokens.take(logprobs(event), *form, at).unwrap());
        }
        all.extend(tokens.finish(end));
        let tokens = all.iter().flat_map(|new| &new.content);
        tokens.map(|token| token.token.as_str()).collect()
    }

    #[test]
    fn l1_each_token_is_emitted_once() {
        use TextForm::{Cumulative, Pieces, Revised, Unknown};
        for (events, end, expected) in [
            (
                &[("a", Pieces), ("a", Pieces), ("b", Pieces)][..],
                Pieces,
                "aab",
            ),
            (
                &[("a", Unknown), ("ab", Unknown), ("abc", Cumulative)],
                Cumulative,
                "abc",
            ),
            (
                &[("a", Unknown), ("ab", Unknown), ("c", Pieces)],
                Pieces,
                "aabc",
            ),
            (&[("a", Unknown), ("ab", Unknown)], Pieces, "aab"),
            (&[("a", Cumulative), ("b", Cumulative)], Cumulative, "ab"),
            (&[("ab", Revised), ("b", Revised)], Revised, "b"),
        ] {
            assert_eq!(read(events, end), expected, "{events:?}");
        }
    }

    #[test]
    fn withheld_tokens_are_bounded() {
        let mut tokens = Tokens::default();
        let mut take = |next| {
            let at = (0, &mut Losses::default());
            tokens.take(next, TextForm::Unknown, at)
        };
        take(logprobs("a")).unwrap();
        let many = logprobs(&"a".repeat(MAX_WAITING_TOKENS + 1));
        assert_eq!(take(many), Err(TextFormError::TooLong));
    }
}
