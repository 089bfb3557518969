//! From texts that may be pieces, or may be the whole text so far, to pieces.
//!
//! The gateway always asks for pieces (`incremental_output`). Some models ignore it and send the
//! whole text so far with each event. Nothing in an event says which it is, and the same events can
//! have two readings: *pieces*, where the answer is all texts joined, and *cumulative*, where it is
//! the last text. A wrong reading would lose text or repeat it, so it is never guessed:
//!
//! 1. The operator may say how a model's texts come ([`Form`], by setting). Then that holds, and a
//!    text that contradicts it is an error.
//! 2. A text that does not begin with the whole text before it proves pieces.
//! 3. DashScope's cumulative streams repeat the text in the event with the finish reason. If that
//!    event has no text, the texts were pieces.
//! 4. Cumulative is proved when the text has grown [`PROOF_STEPS`] times, repeating at least
//!    [`PROOF_BYTES`] bytes that are not a mere pattern (at least [`PROOF_KINDS`] different
//!    characters, and not one text again and again), and the event with the finish reason repeats
//!    it too. By chance pieces do not do that. If that event has no text, much more must have been
//!    repeated ([`SURE_STEPS`], [`SURE_BYTES`]).
//! 5. What is neither proved nor without difference is an error: a call that fails can be made
//!    again, a text that lost a piece cannot be noticed. It takes an answer of very few events,
//!    each of which begins with all that was said before, and text in the last one.
//!
//! As long as both readings are possible, what they agree on, their common beginning, is passed on,
//! and the rest waits. Nearly always the second text proves pieces, so nothing waits. What is
//! proved of one text holds for all of an answer: a model that listens, listens.
//!
//! A third form, *revised*, is cumulative where a later text may differ from an earlier one, as
//! speech recognition does. Then only the last text is known to be right, and it waits for the end.

use std::collections::HashSet;
use std::ops::Range;

use super::errors::unreadable;
use crate::chat::glob;
use crate::error::{Error, Sent};

/// How often a text must have grown before it is believed to be cumulative.
const PROOF_STEPS: usize = 2;

/// How much must have been repeated before it is no chance.
const PROOF_BYTES: usize = 16;

/// How often a text must have grown to be cumulative though the event with the finish reason does
/// not repeat it.
const SURE_STEPS: usize = 4;

/// How much must have been repeated then.
const SURE_BYTES: usize = 64;

/// How many different characters make a text more than a pattern: laughter and lines have fewer.
const PROOF_KINDS: usize = 4;

/// How much may wait while both readings are possible. An answer that begins with its own beginning
/// for so long is a pattern that nobody reads; this only bounds the memory that it takes.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// How the texts of an answer come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Not known: the stream must show it.
    #[default]
    Unknown,
    /// Each text is new.
    Pieces,
    /// Each text is the whole text so far.
    Cumulative,
    /// Each text is the whole text so far, and may change what was said before.
    Revised,
}

impl Form {
    /// What the operator says of a model's texts: the first pattern that fits holds.
    pub(super) fn of(forms: &[(String, Self)], model: &str) -> Self {
        let mut fitting = forms
            .iter()
            .filter(|(pattern, _)| glob::matches(pattern, model));
        fitting.next().map(|(_, form)| *form).unwrap_or_default()
    }
}

/// Why texts cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A text does not go on from the one before, though it must.
    Changed,
    /// Two readings are possible, and they differ.
    Undecided,
    /// Too much would have to wait.
    TooLong,
}

impl Trouble {
    /// What is wrong, for the log.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Changed => "a text contradicts the text before it",
            Self::Undecided => {
                "the texts may be increments or cumulative; see upstream.incremental_models and \
                 upstream.cumulative_models"
            }
            Self::TooLong => "too much text before it was evident whether it is cumulative",
        }
    }
}

/// What is new after an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fresh {
    /// What had to wait, and comes before this event's text.
    pub(super) waited: String,
    /// Which bytes of this event's text are new.
    pub(super) new: Range<usize>,
}

/// One text in the making.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// The answer if the texts are pieces. Kept only as long as that is not known.
    joined: String,
    /// The answer if each text is the whole.
    latest: String,
    /// How many bytes were passed on. Not counted once pieces are known.
    given: usize,
    steps: usize,
    repeated: usize,
}

impl Growth {
    /// Takes the next text. `form` is what is known of the answer, and is set when this text proves
    /// it.
    pub(super) fn push(&mut self, text: &str, form: &mut Form) -> Result<Fresh, Trouble> {
        if text.is_empty() {
            return Ok(Fresh::default());
        }
        match form {
            Form::Pieces => Ok(Fresh {
                waited: self.waiting(),
                new: 0..text.len(),
            }),
            Form::Cumulative => {
                if !text.starts_with(&self.latest) {
                    return Err(Trouble::Changed);
                }
                self.joined = String::new();
                self.count_step(text);
                text.clone_into(&mut self.latest);
                Ok(self.up_to(text.len()))
            }
            Form::Revised => {
                text.clone_into(&mut self.latest);
                Ok(Fresh::default())
            }
            Form::Unknown => self.weigh(text, form),
        }
    }

    /// Whether the two readings differ so far.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.joined.len() > self.latest.len()
    }

    /// Whether text came at all.
    pub(super) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// The whole text of each reading: pieces, and cumulative.
    pub(super) fn readings(&self) -> (&str, &str) {
        (&self.joined, &self.latest)
    }

    /// The end of the text: what still waits.
    pub(super) fn finish(&mut self, form: Form) -> Result<String, Trouble> {
        match form {
            Form::Pieces => Ok(self.waiting()),
            Form::Unknown if self.is_in_doubt() => Err(Trouble::Undecided),
            Form::Unknown | Form::Cumulative | Form::Revised => {
                let rest = self.latest.get(self.given..).unwrap_or_default().to_owned();
                self.given = self.given.max(self.latest.len());
                Ok(rest)
            }
        }
    }

    fn weigh(&mut self, text: &str, form: &mut Form) -> Result<Fresh, Trouble> {
        if !text.starts_with(&self.latest) {
            *form = Form::Pieces;
            return Ok(Fresh {
                waited: self.waiting(),
                new: 0..text.len(),
            });
        }
        if !is_repetition(text) {
            self.count_step(text);
        }
        self.joined.push_str(text);
        text.clone_into(&mut self.latest);
        if self.steps >= PROOF_STEPS && self.repeated >= PROOF_BYTES && self.is_no_pattern() {
            *form = Form::Cumulative;
            self.joined = String::new();
            return Ok(self.up_to(text.len()));
        }
        if self.joined.len() > MAX_WAITING_BYTES {
            return Err(Trouble::TooLong);
        }
        let common = self.common();
        Ok(self.up_to(common))
    }

    /// Whether so much was repeated that nothing else need prove that the text is cumulative.
    pub(super) fn is_surely_cumulative(&self) -> bool {
        self.steps >= SURE_STEPS && self.repeated >= SURE_BYTES
    }

    /// Counts how much of a text repeats the one before, if it has grown.
    fn count_step(&mut self, text: &str) {
        if !self.latest.is_empty() && text.len() > self.latest.len() {
            self.steps += 1;
            self.repeated = self.repeated.saturating_add(self.latest.len());
        }
    }

    fn is_no_pattern(&self) -> bool {
        let kinds: HashSet<char> = self.latest.chars().take(PROOF_BYTES * 4).collect();
        kinds.len() >= PROOF_KINDS
    }

    /// How many bytes the two readings agree on.
    fn common(&self) -> usize {
        // What was given is known to agree; the rest is looked at anew, which ends at once if it
        // differed before.
        let from = self.given.min(self.latest.len());
        let (joined, latest) = (self.joined.get(from..), self.latest.get(from..));
        let pairs = joined.unwrap_or_default().chars();
        let pairs = pairs.zip(latest.unwrap_or_default().chars());
        let agreed = pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8());
        from + agreed.sum::<usize>()
    }

    fn up_to(&mut self, end: usize) -> Fresh {
        let new = self.given.min(end)..end;
        self.given = self.given.max(end);
        Fresh {
            waited: String::new(),
            new,
        }
    }

    /// What waits of the joined pieces. Frees what is not needed any more.
    fn waiting(&mut self) -> String {
        let mut joined = std::mem::take(&mut self.joined);
        self.latest = String::new();
        joined.drain(..self.given.min(joined.len()));
        self.given = 0;
        joined
    }
}

/// What an event is read with.
#[derive(Debug)]
pub(super) struct Reading<'f> {
    /// What is known of the form of texts.
    pub(super) form: &'f mut Form,
    /// Whether the operator said so.
    pub(super) is_given: bool,
    /// Whether there may be other events.
    pub(super) streamed: bool,
    /// How far the call had come.
    pub(super) sent: Sent,
}

impl Reading<'_> {
    /// Adds the next text to those before it.
    pub(super) fn grow(&mut self, growth: &mut Growth, text: &str) -> Result<Fresh, Error> {
        let grown = growth.push(text, self.form);
        grown.map_err(|trouble| self.trouble(trouble))
    }

    /// The error of texts that cannot be read.
    pub(super) fn trouble(&self, trouble: Trouble) -> Error {
        unreadable(trouble.what(), self.sent)
    }
}

/// Whether a text is another one at least twice, the last time perhaps not to its end: models say
/// the same again and again, and pieces of that look as if they grew.
fn is_repetition(text: &str) -> bool {
    let bytes = text.as_bytes();
    // The length of the longest beginning that is also the end, for each beginning of the text.
    let mut borders: Vec<usize> = vec![0; bytes.len()];
    let mut border = 0;
    for at in 1..bytes.len() {
        while border > 0 && bytes.get(at) != bytes.get(border) {
            border = borders.get(border - 1).copied().unwrap_or_default();
        }
        border += usize::from(bytes.get(at) == bytes.get(border));
        if let Some(slot) = borders.get_mut(at) {
            *slot = border;
        }
    }
    border > 0 && border * 2 >= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads texts as an answer whose last event has the last text, or no text at all.
    fn read(texts: &[&str], empty_end: bool) -> Result<(Vec<String>, String), Trouble> {
        let (mut growth, mut form) = (Growth::default(), Form::Unknown);
        let mut given = Vec::new();
        for text in texts {
            let Fresh { waited, new } = growth.push(text, &mut form)?;
            given.push(waited + &text[new]);
        }
        if empty_end {
            if form == Form::Cumulative {
                return Err(Trouble::Changed);
            }
            form = Form::Pieces;
        }
        given.push(growth.finish(form)?);
        let all = given.concat();
        Ok((given, all))
    }

    fn with_text(texts: &[&str]) -> Result<String, Trouble> {
        read(texts, false).map(|(_, all)| all)
    }

    fn without_text(texts: &[&str]) -> Result<String, Trouble> {
        read(texts, true).map(|(_, all)| all)
    }

    #[test]
    fn u20_pieces_are_passed_on_at_once() {
        let (given, all) = read(&["The ", "cat ", "sat."], false).unwrap();
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
        let (given, all) = read(&texts, false).unwrap();
        assert_eq!(all, texts[3]);
        assert_eq!(given, ["这段音频", "", "说的是:'欢迎使用阿里云'", "", ""]);
    }

    #[test]
    fn repeated_words_stay() {
        for (texts, expected) in [
            (&["a", "a"][..], "aa"),
            (&["1", "10"], "110"),
            (&["ha", "haha", "!"], "hahaha!"),
            (
                &["哈", "哈哈", "哈哈哈", "哈哈哈哈", "。"],
                "哈哈哈哈哈哈哈哈哈哈。",
            ),
            (&["\n", "\n", "x"], "\n\nx"),
            (&["ab", "abc", "x"], "ababcx"),
            (&["", "a", "", "a", ""], "aa"),
        ] {
            assert_eq!(without_text(texts).as_deref(), Ok(expected), "{texts:?}");
        }
        assert_eq!(without_text(&["a"; 500]), Ok("a".repeat(500)));
    }

    #[test]
    fn what_is_not_proved_is_an_error() {
        let greeting = "Hello there, friend.";
        for texts in [["是", "是的"], [greeting, greeting], ["1", "10"]] {
            assert_eq!(with_text(&texts), Err(Trouble::Undecided), "{texts:?}");
        }
        let line = "=".repeat(MAX_WAITING_BYTES / 2);
        assert_eq!(without_text(&[line.as_str(); 3]), Err(Trouble::TooLong));
    }

    #[test]
    fn u20_a_whole_that_changes_or_is_not_repeated_at_the_end_is_an_error() {
        let proved = ["The cat", "The cat sat", "The cat sat on it"];
        assert_eq!(with_text(&proved).as_deref(), Ok(proved[2]));
        assert_eq!(without_text(&proved), Err(Trouble::Changed));
        let mut texts = proved.to_vec();
        texts.push("The dog");
        assert_eq!(with_text(&texts), Err(Trouble::Changed));
    }

    #[test]
    fn what_is_said_of_a_model_holds() {
        let all = |texts: &[&str], mut form| {
            let mut growth = Growth::default();
            let mut all = String::new();
            for text in texts {
                let Fresh { waited, new } = growth.push(text, &mut form)?;
                all += &waited;
                all += &text[new];
            }
            growth.finish(form).map(|rest| all + &rest)
        };
        for (form, expected) in [
            (Form::Pieces, Ok("110".to_owned())),
            (Form::Cumulative, Ok("10".to_owned())),
            (Form::Revised, Ok("10".to_owned())),
            (Form::Unknown, Err(Trouble::Undecided)),
        ] {
            assert_eq!(all(&["1", "10"], form), expected, "{form:?}");
        }
        assert_eq!(all(&["ab", "b"], Form::Cumulative), Err(Trouble::Changed));
        assert_eq!(all(&["ab", "b"], Form::Revised).as_deref(), Ok("b"));
    }

    #[test]
    fn what_is_proved_of_one_text_holds_for_the_next() {
        let mut form = Form::Unknown;
        let mut thought = Growth::default();
        thought.push("one", &mut form).unwrap();
        thought.push("two", &mut form).unwrap();
        assert_eq!(form, Form::Pieces);
        let mut text = Growth::default();
        assert_eq!(text.push("a", &mut form).unwrap().new, 0..1);
        assert_eq!(text.push("ab", &mut form).unwrap().new, 0..2);
    }

    /// All ways to cut a text.
    fn cuts(text: &str) -> Vec<Vec<&str>> {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
        let cut = |mask: usize| {
            let at = ends.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1);
            let mut from = 0;
            let mut pieces: Vec<&str> = Vec::new();
            for (_, &end) in at {
                pieces.push(&text[from..end]);
                from = end;
            }
            pieces.push(&text[from..]);
            pieces
        };
        (0..1 << ends.len()).map(cut).collect()
    }

    /// Every short answer, cut in every way: as pieces with and without text in the last event, and
    /// cumulative. Each is read right, or is an error; pieces that end as DashScope's do are always
    /// right.
    #[test]
    fn u20_no_short_answer_is_misread() {
        let letters = ["", "a", "b", "哈"];
        let mut texts: Vec<String> = (0..=9999).map(|n: u32| n.to_string()).collect();
        for a in letters {
            for b in letters {
                for c in letters {
                    for d in letters {
                        texts.push([a, b, c, d].concat());
                    }
                }
            }
        }
        texts.retain(|text| !text.is_empty());
        let (mut read, mut refused) = (0, 0);
        for text in &texts {
            for pieces in cuts(text) {
                assert_eq!(without_text(&pieces).as_deref(), Ok(&**text), "{pieces:?}");
                let mut so_far = String::new();
                let mut wholes = Vec::new();
                for piece in &pieces {
                    so_far.push_str(piece);
                    wholes.push(so_far.clone());
                }
                let wholes: Vec<&str> = wholes.iter().map(String::as_str).collect();
                let repeated = [&wholes[..], &wholes[wholes.len() - 1..]].concat();
                for given in [&pieces, &wholes, &repeated] {
                    match with_text(given) {
                        Ok(all) => {
                            assert_eq!(&all, text, "{given:?}");
                            read += 1;
                        }
                        Err(Trouble::Undecided) => refused += 1,
                        Err(trouble) => panic!("{trouble:?}: {given:?}"),
                    }
                }
            }
        }
        assert!(read > 50_000 && refused > 0, "{read} {refused}");
    }

    proptest! {
        #[test]
        fn any_text_told_as_wholes_is_read_back(
            words in proptest::collection::vec("[a-z]{1,6} ", 5..30),
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
            if let Ok(read) = with_text(&wholes) {
                prop_assert_eq!(read, all);
            }
        }

        #[test]
        fn any_text_told_in_pieces_is_read_back(
            first in "[a-m]{1,6} ",
            second in "[n-z]{1,6} ",
            words in proptest::collection::vec("[a-z ]{0,6}", 0..30),
        ) {
            let mut texts = vec![&*first, &*second];
            texts.extend(words.iter().map(String::as_str));
            let (given, all) = read(&texts, true).unwrap();
            prop_assert_eq!(all, texts.concat());
            prop_assert_eq!(&given[..texts.len()], &texts[..]);
        }

        #[test]
        fn it_never_panics_and_never_invents(
            texts in proptest::collection::vec("[ab哈]{0,4}", 0..90),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if let Ok(all) = with_text(&texts) {
                let joined = texts.concat();
                let last = texts.iter().rev().find(|t| !t.is_empty());
                prop_assert!(all == joined || Some(&&*all) == last);
            }
        }
    }
}
