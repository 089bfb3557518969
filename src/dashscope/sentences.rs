//! The sentences of a speech recognition stream. Each event has one, with its number, and a later
//! event may revise it; the answer is the last text of each, in order.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::json_text::Text;
use super::lenient::sentence;
use crate::chat::document::{Document, Object, Real};

/// The maximum number of sentences: hours of speech. Further ones replace the last.
const MAX_SENTENCES: usize = 65_536;

/// The key under `output`, in the response and in `extra`.
const SENTENCE: &str = "sentence";

/// The latest version of each sentence.
#[derive(Debug, Default)]
pub(super) struct Sentences(BTreeMap<i64, Document>);

impl Sentences {
    /// Removes the sentence of an event from its keys, if it has one with a number.
    pub(super) fn take(&mut self, extra: &mut Object) -> bool {
        let Some((_, document)) = extra.0.iter_mut().find(|(key, _)| key == SENTENCE) else {
            return false;
        };
        let Document::Object(object) = document else {
            return false;
        };
        let Some(Document::Number(Real(number))) = object.value("sentence_id") else {
            return false;
        };
        let number = *number as i64;
        let is_heartbeat = object.value("heartbeat") == Some(&Document::Bool(true));
        let document = std::mem::replace(document, Document::Null);
        extra.0.retain(|(_, value)| *value != Document::Null);
        if !is_heartbeat {
            if self.0.len() >= MAX_SENTENCES && !self.0.contains_key(&number) {
                self.0.pop_last();
            }
            self.0.insert(number, document);
        }
        true
    }

    /// Whether there are no sentences.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of all sentences; `None` if there are none.
    pub(super) fn text(&self) -> Option<Text<'static>> {
        let texts = self.0.values().filter_map(sentence);
        let joined: String = texts.map(|Text(text)| text.into_owned()).collect();
        (!self.is_empty()).then_some(Text(Cow::Owned(joined)))
    }

    /// All sentences as a key of `output`: one unchanged, several as a list.
    pub(super) fn take_key(&mut self) -> Object {
        let mut all: Vec<Document> = std::mem::take(&mut self.0).into_values().collect();
        let value = match all.len() {
            0 => return Object::default(),
            1 => all.swap_remove(0),
            _ => Document::List(all),
        };
        Object(vec![(SENTENCE.to_owned(), value)])
    }
}
