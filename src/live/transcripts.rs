//! The transcripts of the caller's speech. DashScope sends deltas, or snapshots of settled and of
//! tentative words; callers always get all words so far.

use std::collections::VecDeque;

use crate::chat::live_event::{TranscriptKind, TranscriptPart};

use super::event::Transcript;

/// The maximum number of transcripts that are not complete.
const MAX_OPEN: usize = 32;

/// The maximum length of a transcript: hours of speech.
const MAX_TEXT: usize = 256 * 1024;

/// The transcripts that are not complete.
#[derive(Debug, Default)]
pub(super) struct Transcripts {
    open: VecDeque<Transcript>,
}

impl Transcripts {
    /// Adds a part, and returns the whole transcript so far; `None` if it says nothing new.
    pub(super) fn add(&mut self, part: TranscriptPart) -> Option<Transcript> {
        let index = self
            .open
            .iter()
            .position(|open| open.item_id == part.item_id);
        let known = index.and_then(|index| self.open.remove(index));
        let before = known.clone();
        let mut transcript = known.unwrap_or_else(|| Transcript {
            item_id: part.item_id,
            ..Transcript::default()
        });
        match part.kind {
            TranscriptKind::Delta => {
                if transcript.text.len() + part.text.len() <= MAX_TEXT {
                    transcript.text.push_str(&part.text);
                }
            }
            TranscriptKind::Snapshot => transcript.text = part.text,
            TranscriptKind::Completed => {
                // Some models complete a transcript without repeating its words.
                if !part.text.is_empty() {
                    transcript.text = part.text;
                }
                transcript.is_final = true;
            }
        }
        transcript.tentative = part.tentative;
        for text in [&mut transcript.text, &mut transcript.tentative] {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
        }
        for (known, new) in [
            (&mut transcript.language, part.language),
            (&mut transcript.emotion, part.emotion),
        ] {
            if !new.is_empty() {
                *known = new;
            }
        }
        if !transcript.is_final {
            if self.open.len() >= MAX_OPEN {
                self.open.pop_front();
            }
            self.open.push_back(transcript.clone());
        }
        (before.as_ref() != Some(&transcript)).then_some(transcript)
    }

    /// Forgets a transcript that failed.
    pub(super) fn forget(&mut self, item_id: &str) {
        self.open.retain(|open| open.item_id != item_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: TranscriptKind, text: &str, tentative: &str) -> TranscriptPart {
        TranscriptPart {
            item_id: "item_1".to_owned(),
            kind,
            text: text.to_owned(),
            tentative: tentative.to_owned(),
            ..TranscriptPart::default()
        }
    }

    #[test]
    fn deltas_and_snapshots_become_complete_texts() {
        for kind in [TranscriptKind::Delta, TranscriptKind::Snapshot] {
            let texts: [&str; 2] = match kind {
                TranscriptKind::Delta => ["one ", "two"],
                TranscriptKind::Snapshot | TranscriptKind::Completed => ["one ", "one two"],
            };
            let mut transcripts = Transcripts::default();
            let first = transcripts.add(part(kind, texts[0], "tw")).unwrap();
            assert_eq!((&*first.text, &*first.tentative), ("one ", "tw"));
            let second = transcripts.add(part(kind, texts[1], "")).unwrap();
            assert_eq!((&*second.text, &*second.tentative), ("one two", ""));
            let last = transcripts.add(part(TranscriptKind::Completed, "One, two.", ""));
            let last = last.unwrap();
            assert_eq!((&*last.text, last.is_final), ("One, two.", true));
            assert!(transcripts.open.is_empty());
        }
    }

    #[test]
    fn a_completion_without_text_keeps_the_text_so_far() {
        let mut transcripts = Transcripts::default();
        transcripts.add(part(TranscriptKind::Snapshot, "hello", ""));
        let last = transcripts
            .add(part(TranscriptKind::Completed, "", ""))
            .unwrap();
        assert_eq!((&*last.text, last.is_final), ("hello", true));
    }

    #[test]
    fn a_part_without_news_is_not_reported() {
        let mut transcripts = Transcripts::default();
        assert!(
            transcripts
                .add(part(TranscriptKind::Snapshot, "a", "b"))
                .is_some()
        );
        assert!(
            transcripts
                .add(part(TranscriptKind::Snapshot, "a", "b"))
                .is_none()
        );
    }

    #[test]
    fn the_number_of_open_transcripts_is_bounded() {
        let mut transcripts = Transcripts::default();
        for number in 0..1000 {
            transcripts.add(TranscriptPart {
                item_id: number.to_string(),
                text: "a".to_owned(),
                ..TranscriptPart::default()
            });
        }
        assert_eq!(transcripts.open.len(), MAX_OPEN);
    }
}
