//! The text of a conversation, to be sent again on a new connection.

use std::collections::VecDeque;

use crate::chat::live_turn::{
    MAX_HISTORY_BYTES as MAX_BYTES, MAX_HISTORY_MESSAGES as MAX_MESSAGES,
};

/// A message of the conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The id of its item; empty if it is not known.
    item_id: String,
    /// Whether the user said it.
    pub(super) by_user: bool,
    /// The text.
    pub(super) text: String,
}

/// The text of a conversation. Of more than the maximum, the oldest messages go first.
#[derive(Debug, Default)]
pub(super) struct History {
    messages: VecDeque<Said>,
    bytes: usize,
    /// What the response that is running has said so far.
    answer: Said,
}

impl History {
    /// Adds a message.
    pub(super) fn add(&mut self, by_user: bool, text: &str) {
        if !text.is_empty() && text.len() <= MAX_BYTES {
            self.push(Said {
                by_user,
                text: text.to_owned(),
                ..Said::default()
            });
        }
    }

    /// Speech of the user has become an item. Its transcript may come after the answer to it.
    pub(super) fn reserve(&mut self, item_id: &str) {
        self.push(Said {
            item_id: item_id.to_owned(),
            by_user: true,
            text: String::new(),
        });
    }

    /// The transcript of speech is complete.
    pub(super) fn transcribed(&mut self, item_id: &str, text: &str) {
        if text.len() > MAX_BYTES {
            return;
        }
        let mut reserved = self.messages.iter_mut();
        match reserved.find(|said| said.item_id == item_id && !item_id.is_empty()) {
            Some(said) => {
                self.bytes = self.bytes - said.text.len() + text.len();
                text.clone_into(&mut said.text);
                self.shorten();
            }
            None => self.add(true, text),
        }
    }

    /// An item was removed from the conversation.
    pub(super) fn remove(&mut self, item_id: &str) {
        self.messages.retain(|said| said.item_id != item_id);
        self.bytes = self.messages.iter().map(|said| said.text.len()).sum();
    }

    fn push(&mut self, said: Said) {
        self.bytes += said.text.len();
        self.messages.push_back(said);
        self.shorten();
    }

    fn shorten(&mut self) {
        while self.bytes > MAX_BYTES || self.messages.len() > MAX_MESSAGES {
            match self.messages.pop_front() {
                Some(oldest) => self.bytes -= oldest.text.len(),
                None => break,
            }
        }
    }

    /// Adds to the answer that is being given.
    pub(super) fn answer(&mut self, item_id: &str, text: &str) {
        item_id.clone_into(&mut self.answer.item_id);
        if self.answer.text.len() + text.len() <= MAX_BYTES {
            self.answer.text.push_str(text);
        }
    }

    /// The answer is complete.
    pub(super) fn answered(&mut self) {
        let answer = std::mem::take(&mut self.answer);
        if !answer.text.is_empty() {
            self.push(answer);
        }
    }

    /// All messages, the oldest first.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Said> {
        self.messages.iter().filter(|said| !said.text.is_empty())
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
        history.answer("item_2", "good ");
        history.answer("item_2", "morning");
        history.answered();
        let texts: Vec<_> = history.messages().map(|said| &*said.text).collect();
        assert_eq!(texts, ["hello", "good morning"]);
    }

    #[test]
    fn speech_is_before_its_answer_even_if_its_transcript_comes_later() {
        let mut history = History::default();
        history.reserve("item_1");
        history.answer("item_2", "good morning");
        history.answered();
        history.transcribed("item_1", "hello");
        let texts: Vec<_> = history.messages().map(|said| &*said.text).collect();
        assert_eq!(texts, ["hello", "good morning"]);
        history.remove("item_1");
        let texts: Vec<_> = history.messages().map(|said| &*said.text).collect();
        assert_eq!(texts, ["good morning"]);
        assert_eq!(history.bytes, "good morning".len());
    }

    #[test]
    fn the_number_of_messages_is_bounded() {
        let mut history = History::default();
        for number in 0..10_000 {
            history.reserve(&number.to_string());
        }
        assert_eq!(history.messages.len(), MAX_MESSAGES);
    }
}
