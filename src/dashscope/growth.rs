//! From texts that may be pieces or may be the whole so far, to pieces.
//!
//! The gateway always asks for pieces (`incremental_output`). Some models do not listen and send
//! the whole text so far with each event. Nothing in an event says which it is, so there are two
//! readings of the same events: *pieces*, where the answer is all texts joined, and *whole*, where
//! it is the last text. The rule:
//!
//! 1. As long as each text begins with the whole text before it, both readings are possible. Only
//!    what they agree on, their common beginning, is passed on; the rest is held back. An empty
//!    text says nothing.
//! 2. The first text that does not begin with the one before proves pieces. What was held back goes
//!    out, and the matter is settled for all texts of the choice: a model that listens, listens.
//! 3. Whole is believed when the text has grown [`PROOF_STEPS`] times by then, repeating at least
//!    [`PROOF_BYTES`] bytes that are not a mere pattern ([`PROOF_KINDS`] different characters).
//!    From then on a text that does not begin with the one before is a fault.
//! 4. When the choice ends, or after [`PATIENCE`] texts or [`PATIENCE_BYTES`], before either is
//!    proved: whole if a text grew at all, or if a text of [`PROOF_BYTES`] came twice; otherwise
//!    pieces. So the pieces "a", "a" are "aa", and "a", "ab" is "ab".
//!
//! Holding back costs nothing in practice: a second piece that begins with the whole answer so far
//! is rare, and the third one then tells.

use std::collections::HashSet;

/// How often a text must have grown before it is believed to be the whole.
const PROOF_STEPS: usize = 2;

/// How much must have been repeated before it is no chance.
const PROOF_BYTES: usize = 16;

/// How many different characters make a text more than a pattern: laughter and lines have fewer.
const PROOF_KINDS: usize = 4;

/// How many texts are read in doubt. A model that laughs longer than this is taken by rule 4.
const PATIENCE: usize = 64;

/// How much may be held back in doubt. Comparing it again with each text must stay cheap.
const PATIENCE_BYTES: usize = 256 * 1024;

/// A text that does not go on from what was said before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch;

/// One text in the making.
#[derive(Debug, Default)]
pub(super) struct Growth {
    mode: Mode,
    /// The answer if the texts are pieces. Kept only while in doubt.
    joined: String,
    /// The answer if each text is the whole.
    latest: String,
    /// How many bytes were passed on.
    given: usize,
    texts: usize,
    grown: usize,
    repeated: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Doubt,
    Pieces,
    Whole,
}

impl Growth {
    /// Takes the next text and gives what is new for sure. `pieces` is what is known of the choice.
    pub(super) fn push(&mut self, text: &str, pieces: &mut bool) -> Result<String, Mismatch> {
        if text.is_empty() {
            return Ok(String::new());
        }
        if *pieces && self.mode == Mode::Doubt {
            self.mode = Mode::Pieces;
        }
        match self.mode {
            Mode::Pieces => {
                let mut held = self.flush();
                held.push_str(text);
                Ok(held)
            }
            Mode::Whole => {
                if !text.starts_with(&self.latest) {
                    return Err(Mismatch);
                }
                text.clone_into(&mut self.latest);
                Ok(self.give_latest())
            }
            Mode::Doubt => Ok(self.weigh(text, pieces)),
        }
    }

    /// The end of the text: decides what is still in doubt and gives what was held back.
    pub(super) fn finish(&mut self) -> String {
        match self.mode {
            Mode::Doubt => self.settle(),
            Mode::Pieces => self.flush(),
            Mode::Whole => String::new(),
        }
    }

    fn weigh(&mut self, text: &str, pieces: &mut bool) -> String {
        if !text.starts_with(&self.latest) {
            *pieces = true;
            self.mode = Mode::Pieces;
            self.joined.push_str(text);
            return self.flush();
        }
        if !self.latest.is_empty() {
            self.repeated += self.latest.len();
            self.grown += usize::from(text.len() > self.latest.len());
        }
        self.texts += 1;
        self.joined.push_str(text);
        text.clone_into(&mut self.latest);
        if self.grown >= PROOF_STEPS && self.repeated >= PROOF_BYTES && self.is_no_pattern() {
            self.mode = Mode::Whole;
            self.joined = String::new();
            return self.give_latest();
        }
        if self.texts > PATIENCE || self.joined.len() > PATIENCE_BYTES {
            return self.settle();
        }
        self.give_common()
    }

    fn is_no_pattern(&self) -> bool {
        let kinds: HashSet<char> = self.latest.chars().take(PROOF_BYTES * 4).collect();
        kinds.len() >= PROOF_KINDS
    }

    fn settle(&mut self) -> String {
        if self.grown > 0 || self.latest.len() >= PROOF_BYTES && self.texts > 1 {
            self.mode = Mode::Whole;
            self.joined = String::new();
            return self.give_latest();
        }
        self.mode = Mode::Pieces;
        self.flush()
    }

    /// What the two readings agree on and was not passed on yet.
    fn give_common(&mut self) -> String {
        let common: usize = self
            .joined
            .chars()
            .zip(self.latest.chars())
            .take_while(|(a, b)| a == b)
            .map(|(a, _)| a.len_utf8())
            .sum();
        let new = self.latest.get(self.given..common).unwrap_or_default();
        let new = new.to_owned();
        self.given = self.given.max(common);
        new
    }

    fn give_latest(&mut self) -> String {
        let new = self.latest.get(self.given..).unwrap_or_default().to_owned();
        self.given = self.given.max(self.latest.len());
        new
    }

    /// What is held back of the joined pieces. Frees what is not needed any more.
    fn flush(&mut self) -> String {
        let mut joined = std::mem::take(&mut self.joined);
        self.latest = String::new();
        joined.drain(..self.given.min(joined.len()));
        self.given = 0;
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(texts: &[&str]) -> Result<(Vec<String>, String), Mismatch> {
        let (mut growth, mut pieces) = (Growth::default(), false);
        let given = texts.iter().map(|text| growth.push(text, &mut pieces));
        let mut given = given.collect::<Result<Vec<_>, _>>()?;
        given.push(growth.finish());
        let all = given.concat();
        Ok((given, all))
    }

    fn answer(texts: &[&str]) -> String {
        read(texts).unwrap().1
    }

    #[test]
    fn u20_pieces_are_passed_on_at_once() {
        let (given, all) = read(&["The ", "cat ", "sat."]).unwrap();
        assert_eq!(given, ["The ", "cat ", "sat.", ""]);
        assert_eq!(all, "The cat sat.");
    }

    #[test]
    fn u20_repeated_wholes_become_pieces() {
        let texts = [
            "这段音频",
            "这段音频说的是:'欢迎",
            "这段音频说的是:'欢迎使用阿里云'",
            "这段音频说的是:'欢迎使用阿里云'",
        ];
        let (given, all) = read(&texts).unwrap();
        assert_eq!(all, texts[3]);
        assert_eq!(given, ["这段音频", "", "说的是:'欢迎使用阿里云'", "", ""]);
    }

    #[test]
    fn repeated_words_stay() {
        for (texts, expected) in [
            (&["a", "a"][..], "aa"),
            (&["a", "a", "a"], "aaa"),
            (&["a", "a", "b"], "aab"),
            (&["ha", "haha", "!"], "hahaha!"),
            (
                &["哈", "哈哈", "哈哈哈", "哈哈哈哈", "。"],
                "哈哈哈哈哈哈哈哈哈哈。",
            ),
            (&["\n", "\n", "x"], "\n\nx"),
            (&["1", "1", "."], "11."),
            (&["ab", "abc", "x"], "ababcx"),
            (&["", "a", "", "a", ""], "aa"),
        ] {
            assert_eq!(answer(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn what_is_never_proved_is_read_by_rule() {
        let greeting = "Hello there, friend.";
        assert_eq!(answer(&["是", "是的"]), "是的");
        assert_eq!(answer(&[greeting, greeting]), greeting);
        assert_eq!(answer(&["好", "好"]), "好好");
        assert_eq!(answer(&["a"; PATIENCE + 8]), "a".repeat(PATIENCE + 8));
    }

    #[test]
    fn what_both_readings_share_is_not_held_back() {
        let (given, _) = read(&["ha", "haha"]).unwrap();
        assert_eq!(given, ["ha", "ha", ""]);
    }

    #[test]
    fn u20_a_whole_that_changes_its_mind_is_a_fault() {
        let proved = ["The cat", "The cat sat", "The cat sat on it"];
        assert!(read(&proved).is_ok());
        let mut texts = proved.to_vec();
        texts.push("The dog");
        assert_eq!(read(&texts), Err(Mismatch));
    }

    #[test]
    fn what_is_proved_of_one_text_holds_for_the_next() {
        let mut pieces = false;
        let mut thought = Growth::default();
        thought.push("one", &mut pieces).unwrap();
        thought.push("two", &mut pieces).unwrap();
        assert!(pieces);
        let mut text = Growth::default();
        assert_eq!(text.push("a", &mut pieces).unwrap(), "a");
        assert_eq!(text.push("ab", &mut pieces).unwrap(), "ab");
    }

    proptest! {
        #[test]
        fn any_text_told_as_wholes_is_read_back(
            words in proptest::collection::vec("[a-z]{1,6} ", 3..30),
        ) {
            let mut all = String::new();
            let wholes: Vec<String> = words
                .iter()
                .map(|word| {
                    all.push_str(word);
                    all.clone()
                })
                .collect();
            let wholes: Vec<&str> = wholes.iter().map(String::as_str).collect();
            prop_assert_eq!(answer(&wholes), all);
        }

        #[test]
        fn any_text_told_in_pieces_is_read_back(
            first in "[a-m]{1,6} ",
            second in "[n-z]{1,6} ",
            words in proptest::collection::vec("[a-z ]{0,6}", 0..30),
        ) {
            let mut texts = vec![&*first, &*second];
            texts.extend(words.iter().map(String::as_str));
            let (given, all) = read(&texts).unwrap();
            prop_assert_eq!(all, texts.concat());
            prop_assert_eq!(&given[..texts.len()], &texts[..]);
        }

        #[test]
        fn it_never_panics_and_never_invents(
            texts in proptest::collection::vec("[ab哈]{0,4}", 0..90),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if let Ok((_, all)) = read(&texts) {
                let joined = texts.concat();
                let last = texts.iter().rev().find(|t| !t.is_empty());
                prop_assert!(all == joined || Some(&&*all) == last);
            }
        }
    }
}
