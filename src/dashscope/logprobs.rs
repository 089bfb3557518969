//! Removes repeated log probabilities. If texts are cumulative, the tokens usually repeat from the
//! start with each event, and each is emitted once. See `delta_detector.rs`.
//!
//! Tokens that begin with the earlier ones may be new all the same: those of "ha" and "haha". The
//! length of the text shows which of its tokens an event has.

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
    waiting: Vec<Received>,
    waiting_tokens: usize,
    /// The length of the text at the latest of the emitted tokens.
    text_len: usize,
    /// The unknown keys.
    extra: Extra,
}

/// The log probabilities of an event.
#[derive(Debug)]
struct Received {
    content: Vec<TokenLogprob>,
    /// The length of the text up to this event, if texts are cumulative.
    text_len: usize,
}

impl Tokens {
    /// Handles those of an event. Returns what is new. `text_len` is the length of the text up to
    /// this event, if texts are cumulative; `choice` is the index of the choice.
    pub(super) fn take(
        &mut self,
        mut next: Logprobs,
        form: TextForm,
        text_len: usize,
        (choice, losses): (i32, &mut Losses),
    ) -> Result<Option<Logprobs>, TextFormError> {
        let extra = std::mem::take(&mut next.extra);
        let new = self.decode_tokens(next.content, text_len, form)?;
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
        content: Vec<TokenLogprob>,
        text_len: usize,
        form: TextForm,
    ) -> Result<Option<Logprobs>, TextFormError> {
        let next = Received { content, text_len };
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
            let repeats = form != TextForm::Pieces && self.repeats(&next);
            let mut content = next.content;
            if form != TextForm::Pieces {
                if repeats {
                    content.drain(..self.given.len());
                }
                self.given.extend_from_slice(&content);
                self.text_len = next.text_len;
            }
            new.content.extend(content);
        }
        self.waiting_tokens = 0;
        (new != Logprobs::default()).then_some(new)
    }

    /// Whether tokens that begin with all emitted ones repeat them.
    fn repeats(&self, next: &Received) -> bool {
        if !next.content.starts_with(&self.given) {
            return false;
        }
        let (before, new) = (text_len(&self.given), text_len(&next.content));
        match next.text_len {
            all if all == new => true,
            all if all == before + new => false,
            // The tokens are not those of the text alone.
            all => next.content.len() > self.given.len() || all == self.text_len,
        }
    }
}

/// The length of the text of tokens.
fn text_len(tokens: &[TokenLogprob]) -> usize {
    let len = |token: &TokenLogprob| match token.bytes.len() {
        0 => token.token.len(),
        len => len,
    };
    tokens.iter().map(len).sum()
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
        let with_texts: Vec<_> = events
            .iter()
            .map(|(event, form)| (*event, event.len(), *form))
            .collect();
        read_with_texts(&with_texts, end)
    }

    fn read_with_texts(events: &[(&str, usize, TextForm)], end: TextForm) -> String {
        let mut tokens = Tokens::default();
        let mut all = Vec::new();
        for (event, text_len, form) in events {
            let mut losses = Losses::default();
            let at = (0, &mut losses);
            all.extend(tokens.take(logprobs(event), *form, *text_len, at).unwrap());
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
    fn the_text_shows_whether_equal_tokens_are_new() {
        use TextForm::Cumulative;
        for (events, expected) in [
            (&[("h", 1), ("h", 2), ("a", 3)][..], "hha"),
            (&[("h", 1), ("hh", 2), ("hhh", 3)], "hhh"),
            (&[("h", 1), ("hh", 3), ("a", 4)], "hhha"),
            (&[("h", 1), ("h", 1), ("h", 2)], "hh"),
            // Tokens without a text of their own.
            (&[("h", 9), ("hh", 12), ("hhh", 15), ("hhh", 15)], "hhh"),
            (&[("h", 9), ("h", 12), ("a", 15)], "hha"),
        ] {
            let events: Vec<_> = events
                .iter()
                .map(|(event, len)| (*event, *len, Cumulative))
                .collect();
            assert_eq!(read_with_texts(&events, Cumulative), expected, "{events:?}");
        }
    }

    #[test]
    fn withheld_tokens_are_bounded() {
        let mut tokens = Tokens::default();
        let mut take = |next| {
            let at = (0, &mut Losses::default());
            tokens.take(next, TextForm::Unknown, 1, at)
        };
        take(logprobs("a")).unwrap();
        let many = logprobs(&"a".repeat(MAX_WAITING_TOKENS + 1));
        assert_eq!(take(many), Err(TextFormError::TooLong));
    }
}
