//! Converts texts that may be deltas or cumulative into deltas.
//!
//! The gateway always requests deltas (`incremental_output`). Some models ignore that and send the
//! whole text so far with each event. No event states its form, and the same events can have two
//! interpretations: *pieces*, where the answer is the concatenation, and *cumulative*, where it is
//! the last text. A wrong interpretation would lose or repeat text, so it is never guessed:
//!
//! 1. The form of a model's texts may be configured ([`TextForm`]). It then applies, and a text
//!    that contradicts it is an error.
//! 2. A text that does not begin with the whole previous text proves pieces.
//! 3. DashScope's cumulative streams repeat the text in the event with the finish reason. If that
//!    event has no text, the texts were pieces.
//! 4. Cumulative is proved when the text has grown [`PROOF_STEPS`] times, repeating at least
//!    [`PROOF_BYTES`] bytes that are not a mere pattern (at least [`PROOF_KINDS`] different
//!    characters, and not one text repeated), and the event with the finish reason repeats it too.
//!    Pieces do not do that by chance. If that event has no text, much more must have been repeated
//!    ([`SURE_STEPS`], [`SURE_BYTES`]).
//! 5. If neither is proved and the interpretations differ, it is an error: a failed call can be
//!    retried, but missing text cannot be noticed. This takes an answer of very few events, each of
//!    which begins with the whole previous text, and text in the last one.
//!
//! While both interpretations are possible, their common prefix is emitted and the rest withheld.
//! The second text nearly always proves pieces, so nothing is withheld. What is proved for one text
//! holds for the whole answer: a model follows the parameter or does not.
//!
//! A third form, *revised*, is cumulative where a later text may differ from an earlier one, as in
//! speech recognition. Only the last text is then final, and it is withheld until the end.

use std::collections::HashSet;
use std::ops::Range;

use super::errors::unreadable;
use crate::chat::glob;
use crate::error::{Error, Sent};

/// How many times a text must grow to count as cumulative.
const PROOF_STEPS: usize = 2;

/// How many bytes must be repeated, to exclude chance.
const PROOF_BYTES: usize = 16;

/// How many times a text must grow to count as cumulative although the event with the finish reason
/// does not repeat it.
const SURE_STEPS: usize = 4;

/// How many bytes must be repeated in that case.
const SURE_BYTES: usize = 64;

/// How many different characters make a text more than a pattern; laughter and rules have fewer.
const PROOF_KINDS: usize = 4;

/// The maximum text withheld while both interpretations are possible. Only repeated patterns get
/// this long; the limit bounds their memory.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// The form of an answer's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TextForm {
    /// Not known yet; detected from the stream.
    #[default]
    Unknown,
    /// Each text is a delta.
    Pieces,
    /// Each text is the whole text so far.
    Cumulative,
    /// Each text is the whole text so far, and may revise earlier text.
    Revised,
}

impl TextForm {
    /// The configured form of a model: the first pattern that matches applies.
    pub(super) fn of(forms: &[(String, Self)], model: &str) -> Self {
        let mut fitting = forms
            .iter()
            .filter(|(pattern, _)| glob::matches(pattern, model));
        fitting.next().map(|(_, form)| *form).unwrap_or_default()
    }
}

/// Why texts cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextFormError {
    /// A text does not continue the previous one although it must.
    Changed,
    /// Two interpretations are possible, and they differ.
    Undecided,
    /// More than [`MAX_WAITING_BYTES`] would be withheld.
    TooLong,
}

impl TextFormError {
    /// The description for the log.
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

/// The new text after an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NewText {
    /// Withheld text, which precedes this event's text.
    pub(super) waited: String,
    /// The range of this event's text that is new.
    pub(super) new: Range<usize>,
}

/// The state of one text.
#[derive(Debug, Default)]
pub(super) struct DeltaDetector {
    /// The concatenation. Kept only until the form is known.
    joined: String,
    /// The latest text, which is the answer if texts are cumulative.
    latest: String,
    /// How many bytes were emitted. Not maintained once texts are known to be pieces.
    given: usize,
    steps: usize,
    repeated: usize,
    /// Whether a revised text did not continue the one before.
    was_replaced: bool,
}

impl DeltaDetector {
    /// Adds the next text. `form` is the form known for the answer, and is set when this text
    /// proves it.
    pub(super) fn push(
        &mut self,
        text: &str,
        form: &mut TextForm,
    ) -> Result<NewText, TextFormError> {
        if text.is_empty() {
            return Ok(NewText::default());
        }
        match form {
            TextForm::Pieces => Ok(NewText {
                waited: self.waiting(),
                new: 0..text.len(),
            }),
            TextForm::Cumulative => {
                if !text.starts_with(&self.latest) {
                    return Err(TextFormError::Changed);
                }
                self.joined = String::new();
                self.count_step(text);
                text.clone_into(&mut self.latest);
                Ok(self.up_to(text.len()))
            }
            TextForm::Revised => {
                self.was_replaced |= !text.starts_with(&self.latest);
                self.steps += usize::from(!self.latest.is_empty() && text != self.latest);
                text.clone_into(&mut self.latest);
                Ok(NewText::default())
            }
            TextForm::Unknown => self.weigh(text, form),
        }
    }

    /// Whether the two interpretations differ so far.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.joined.len() > self.latest.len()
    }

    /// Whether no text was received.
    pub(super) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// The length of the latest text.
    pub(super) fn len(&self) -> usize {
        self.latest.len()
    }

    /// Whether a revised text did not continue the one before.
    pub(super) fn was_replaced(&self) -> bool {
        self.was_replaced
    }

    /// Whether the text changed. Not maintained once texts are known to be pieces.
    pub(super) fn has_changed(&self) -> bool {
        self.steps > 0
    }

    /// The whole text by interpretation: pieces, then cumulative.
    pub(super) fn readings(&self) -> (&str, &str) {
        (&self.joined, &self.latest)
    }

    /// Ends the text and returns what was withheld.
    pub(super) fn finish(&mut self, form: TextForm) -> Result<String, TextFormError> {
        match form {
            TextForm::Pieces => Ok(self.waiting()),
            TextForm::Unknown if self.is_ambiguous() => Err(TextFormError::Undecided),
            TextForm::Unknown | TextForm::Cumulative | TextForm::Revised => {
                let rest = self.latest.get(self.given..).unwrap_or_default().to_owned();
                self.given = self.given.max(self.latest.len());
                Ok(rest)
            }
        }
    }

    fn weigh(&mut self, text: &str, form: &mut TextForm) -> Result<NewText, TextFormError> {
        if !text.starts_with(&self.latest) {
            *form = TextForm::Pieces;
            return Ok(NewText {
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
            *form = TextForm::Cumulative;
            self.joined = String::new();
            return Ok(self.up_to(text.len()));
        }
        if self.joined.len() > MAX_WAITING_BYTES {
            return Err(TextFormError::TooLong);
        }
        let common = self.common();
        Ok(self.up_to(common))
    }

    /// Whether enough was repeated to prove cumulative texts without further evidence.
    pub(super) fn is_surely_cumulative(&self) -> bool {
        self.steps >= SURE_STEPS && self.repeated >= SURE_BYTES
    }

    /// Counts a text that repeats and extends the previous one.
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

    /// The length of the interpretations' common prefix.
    fn common(&self) -> usize {
        // Emitted text is known to be common. The rest is compared again, which stops at the first
        // difference.
        let from = self.given.min(self.latest.len());
        let (joined, latest) = (self.joined.get(from..), self.latest.get(from..));
        let pairs = joined.unwrap_or_default().chars();
        let pairs = pairs.zip(latest.unwrap_or_default().chars());
        let agreed = pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8());
        from + agreed.sum::<usize>()
    }

    fn up_to(&mut self, end: usize) -> NewText {
        let new = self.given.min(end)..end;
        self.given = self.given.max(end);
        NewText {
            waited: String::new(),
            new,
        }
    }

    /// Returns the withheld rest of the pieces and frees state that is no longer needed.
    fn waiting(&mut self) -> String {
        let mut joined = std::mem::take(&mut self.joined);
        self.latest = String::new();
        joined.drain(..self.given.min(joined.len()));
        self.given = 0;
        joined
    }
}

/// The context in which an event is decoded.
#[derive(Debug)]
pub(super) struct Reading<'f> {
    /// The known form of the texts.
    pub(super) form: &'f mut TextForm,
    /// Whether the form is configured.
    pub(super) is_given: bool,
    /// Whether more events may follow.
    pub(super) streamed: bool,
    /// How far the call has come.
    pub(super) sent: Sent,
}

impl Reading<'_> {
    /// Adds the next text.
    pub(super) fn grow(
        &mut self,
        detector: &mut DeltaDetector,
        text: &str,
    ) -> Result<NewText, Error> {
        let grown = detector.push(text, self.form);
        grown.map_err(|cause| self.text_error(cause))
    }

    /// The error of texts that cannot be converted.
    pub(super) fn text_error(&self, cause: TextFormError) -> Error {
        unreadable(cause.what(), self.sent)
    }
}

/// Whether a text consists of another one repeated at least twice, the last time perhaps truncated:
/// models get into loops, and pieces of a loop look cumulative.
fn is_repetition(text: &str) -> bool {
    let bytes = text.as_bytes();
    // The length of the longest border (prefix that is also a suffix) of each prefix.
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

    /// Decodes texts as an answer whose last event has the last text, or no text.
    fn read(texts: &[&str], empty_end: bool) -> Result<(Vec<String>, String), TextFormError> {
        let (mut detector, mut form) = (DeltaDetector::default(), TextForm::Unknown);
        let mut given = Vec::new();
        for text in texts {
            let NewText { waited, new } = detector.push(text, &mut form)?;
            given.push(waited + &text[new]);
        }
        if empty_end {
            if form == TextForm::Cumulative {
                return Err(TextFormError::Changed);
            }
            form = TextForm::Pieces;
        }
        given.push(detector.finish(form)?);
        let all = given.concat();
        Ok((given, all))
    }

    fn with_text(texts: &[&str]) -> Result<String, TextFormError> {
        read(texts, false).map(|(_, all)| all)
    }

    fn without_text(texts: &[&str]) -> Result<String, TextFormError> {
        read(texts, true).map(|(_, all)| all)
    }

    #[test]
    fn u20_deltas_are_emitted_immediately() {
        let (given, all) = read(&["The ", "cat ", "sat."], false).unwrap();
        assert_eq!(given, ["The ", "cat ", "sat.", ""]);
        assert_eq!(all, "The cat sat.");
    }

    #[test]
    fn u20_cumulative_texts_become_deltas() {
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
    fn repeated_words_are_kept() {
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
    fn an_ambiguous_text_is_an_error() {
        let greeting = "Hello there, friend.";
        for texts in [["是", "是的"], [greeting, greeting], ["1", "10"]] {
            assert_eq!(
                with_text(&texts),
                Err(TextFormError::Undecided),
                "{texts:?}"
            );
        }
        let line = "=".repeat(MAX_WAITING_BYTES / 2);
        assert_eq!(
            without_text(&[line.as_str(); 3]),
            Err(TextFormError::TooLong)
        );
    }

    #[test]
    fn u20_a_cumulative_text_that_changes_or_is_not_repeated_at_the_end_is_an_error() {
        let proved = ["The cat", "The cat sat", "The cat sat on it"];
        assert_eq!(with_text(&proved).as_deref(), Ok(proved[2]));
        assert_eq!(without_text(&proved), Err(TextFormError::Changed));
        let mut texts = proved.to_vec();
        texts.push("The dog");
        assert_eq!(with_text(&texts), Err(TextFormError::Changed));
    }

    #[test]
    fn a_configured_delta_form_applies() {
        let all = |texts: &[&str], mut form| {
            let mut detector = DeltaDetector::default();
            let mut all = String::new();
            for text in texts {
                let NewText { waited, new } = detector.push(text, &mut form)?;
                all += &waited;
                all += &text[new];
            }
            detector.finish(form).map(|rest| all + &rest)
        };
        for (form, expected) in [
            (TextForm::Pieces, Ok("110".to_owned())),
            (TextForm::Cumulative, Ok("10".to_owned())),
            (TextForm::Revised, Ok("10".to_owned())),
            (TextForm::Unknown, Err(TextFormError::Undecided)),
        ] {
            assert_eq!(all(&["1", "10"], form), expected, "{form:?}");
        }
        assert_eq!(
            all(&["ab", "b"], TextForm::Cumulative),
            Err(TextFormError::Changed)
        );
        assert_eq!(all(&["ab", "b"], TextForm::Revised).as_deref(), Ok("b"));
    }

    #[test]
    fn a_detected_delta_form_applies_to_the_next_text() {
        let mut form = TextForm::Unknown;
        let mut thought = DeltaDetector::default();
        thought.push("one", &mut form).unwrap();
        thought.push("two", &mut form).unwrap();
        assert_eq!(form, TextForm::Pieces);
        let mut text = DeltaDetector::default();
        assert_eq!(text.push("a", &mut form).unwrap().new, 0..1);
        assert_eq!(text.push("ab", &mut form).unwrap().new, 0..2);
    }

    /// All partitions of a text.
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

    /// Every short answer in every partition: as pieces with and without text in the last event,
    /// and cumulative. Each is decoded correctly or is an error; pieces that end as DashScope's do
    /// are always correct.
    #[test]
    fn u20_every_partition_of_a_short_answer_is_decoded_or_rejected() {
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
                        Err(TextFormError::Undecided) => refused += 1,
                        Err(cause) => panic!("{cause:?}: {given:?}"),
                    }
                }
            }
        }
        assert!(read > 50_000 && refused > 0, "{read} {refused}");
    }

    proptest! {
        #[test]
        fn any_cumulative_text_round_trips(
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
        fn any_text_in_deltas_round_trips(
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
        fn no_input_panics_or_yields_text_not_received(
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
