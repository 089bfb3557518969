//! The text of a conversation, to be sent again on a new connection.

use std::collections::VecDeque;

/// The maximum text that is kept: about a quarter of the context of realtime models. The oldest
/// messages go first.
const MAX_BYTES: usize = 64 * 1024;

/// A message of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Whether the user said it.
    pub(super) by_user: bool,
    /// The text.
    pub(super) text: String,
}

/// The text of a conversation.
#[derive(Debug, Default)]
pub(super) struct History {
    messages: VecDeque<Said>,
    bytes: usize,
    /// What the response that is running has said so far.
    answer: String,
}

impl History {
    /// Adds a message.
    pub(super) fn add(&mut self, by_user: bool, text: &str) {
        if text.is_empty() || text.len() > MAX_BYTES {
            return;
        }
        self.bytes += text.len();
        self.messages.push_back(Said {
            by_user,
            text: text.to_owned(),
        });
        while self.bytes > MAX_BYTES {
            match self.messages.pop_front() {
                Some(oldest) => self.bytes -= oldest.text.len(),
                None => break,
            }
        }
    }

    /// Adds to the answer that is being given.
    pub(super) fn answer(&mut self, text: &str) {
        if self.answer.len() + text.len() <= MAX_BYTES {
            self.answer.push_str(text);
        }
    }

    /// The answer is complete.
    pub(super) fn answered(&mut self) {
        let answer = std::mem::take(&mut self.answer);
        self.add(false, &answer);
    }

    /// All messages, the oldest first.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Said> {
        self.messages.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_messages_are_dropped_first() {
        let mut history = History::default();
        for number in 0..100 {
            history.add(true, &format!("{number:04}").repeat(1024));
        }
        let kept: Vec<_> = history.messages().map(|said| &said.text[..4]).collect();
        assert_eq!(kept.len(), MAX_BYTES / 4096);
        assert_eq!(kept.last(), Some(&"0099"));
        assert!(history.bytes <= MAX_BYTES);
    }

    #[test]
    fn the_pieces_of_an_answer_are_one_message() {
        let mut history = History::default();
        history.add(true, "hello");
        history.answer("good ");
        history.answer("morning");
        history.answered();
        let texts: Vec<_> = history.messages().map(|said| &*said.text).collect();
        assert_eq!(texts, ["hello", "good morning"]);
    }
}
