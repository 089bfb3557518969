//! The sentences of a speech recognition stream. Each event has one or a list, in `output` or one
//! object deeper, and a later event may revise them; the answer is the last text of each, in order.
//!
//! A sentence is identified by its `sentence_id`, else by its `begin_time`. Without both, a text
//! that does not continue the previous one may be its revision or another sentence: an error.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::delta_detector::TextFormError;
use super::json_fields::{number, whole};
use super::json_text::Text;
use super::lenient::sentence;
use crate::chat::document::{Document, Object, Real};

/// The maximum number of sentences: hours of speech.
const MAX_SENTENCES: usize = 65_536;

/// The key under `output`, in the response and in `extra`.
const SENTENCE: &str = "sentence";

/// The key of a sentence's text.
const TEXT: &str = "text";

/// The keys of the sources of a sentence, which no revision changes.
const SOURCES: [&str; 3] = ["channel_id", "channel", "speaker_id"];

/// What identifies the sentences of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// Integers, in their order.
    Number,
    /// Other values, in the order in which they are first received.
    Name,
    /// The times at which they begin.
    Time,
    /// Nothing.
    Missing,
}

/// The latest version of each sentence.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    latest: BTreeMap<i64, Document>,
    identity: Option<Identity>,
    names: BTreeMap<String, i64>,
    /// The key of the object under `output` that has the sentences.
    parent: Option<String>,
}

impl Sentences {
    /// Removes the sentences of an event from its keys. Returns their text if there are any.
    pub(super) fn take(&mut self, extra: &mut Object) -> Result<Option<String>, TextFormError> {
        let Some((parent, document)) = remove(extra) else {
            return Ok(None);
        };
        if remove(extra).is_some() {
            return Err(TextFormError::Changed);
        }
        self.parent = self.parent.take().or(parent);
        let text = text_of(&document);
        let sentences = match into_identified(document) {
            Ok(items) => items,
            Err(document) => vec![document],
        };
        sentences.into_iter().try_for_each(|one| self.add(one))?;
        Ok(Some(text))
    }

    /// Whether there are no sentences.
    pub(super) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// The text of all sentences; `None` if there are none.
    pub(super) fn text(&self) -> Option<Text<'static>> {
        let joined: String = self.latest.values().map(text_of).collect();
        (!self.is_empty()).then_some(Text(Cow::Owned(joined)))
    }

    /// All sentences as a key of `output`: one unchanged, several as a list.
    pub(super) fn take_key(&mut self) -> Object {
        let mut all: Vec<Document> = std::mem::take(&mut self.latest).into_values().collect();
        let value = match all.len() {
            0 => return Object::default(),
            1 => all.swap_remove(0),
            _ => Document::List(all),
        };
        let sentences = Object(vec![(SENTENCE.to_owned(), value)]);
        match self.parent.take() {
            Some(parent) => Object(vec![(parent, Document::Object(sentences))]),
            None => sentences,
        }
    }

    fn add(&mut self, document: Document) -> Result<(), TextFormError> {
        let is_heartbeat = value(&document, "heartbeat") == Some(&Document::Bool(true));
        if is_heartbeat && text_of(&document).is_empty() {
            return Ok(());
        }
        let (identity, key) = self.identify(&document);
        if self.identity.is_some_and(|before| before != identity) {
            return Err(TextFormError::Changed);
        }
        self.identity = Some(identity);
        if let Some(before) = self.latest.get_mut(&key) {
            return replace(before, document, identity);
        }
        // With an earlier start it may be a revision of any later one.
        let is_earlier = self
            .latest
            .last_key_value()
            .is_some_and(|(at, _)| *at > key);
        if identity == Identity::Time && is_earlier {
            return Err(TextFormError::Changed);
        }
        if self.latest.len() >= MAX_SENTENCES {
            return Err(TextFormError::TooLong);
        }
        let last = self.latest.last_key_value().filter(|(at, _)| **at < key);
        if identity == Identity::Time
            && last.is_some_and(|(_, last)| may_be_revised(last, &document, key))
        {
            return Err(TextFormError::Changed);
        }
        self.latest.insert(key, document);
        Ok(())
    }

    fn identify(&mut self, document: &Document) -> (Identity, i64) {
        let id = value(document, "sentence_id");
        if let Some(number) = id.and_then(whole) {
            return (Identity::Number, number);
        }
        if let Some(name) = id.and_then(name_of) {
            let next = i64::try_from(self.names.len()).unwrap_or(i64::MAX);
            return (Identity::Name, *self.names.entry(name).or_insert(next));
        }
        match time(document, "begin_time") {
            Some(time) => (Identity::Time, time),
            None => (Identity::Missing, 0),
        }
    }
}

/// Replaces a sentence with its next version, which may have no text of its own.
fn replace(
    before: &mut Document,
    mut next: Document,
    identity: Identity,
) -> Result<(), TextFormError> {
    let (old, new) = (text_of(before), text_of(&next));
    let is_other = SOURCES
        .iter()
        .any(|key| value(before, key) != value(&next, key));
    let is_later = time(&next, "begin_time")
        .zip(time(before, "end_time"))
        .is_some_and(|(begins, ended)| begins > ended);
    if is_other
        || is_later
        || identity == Identity::Missing && !new.is_empty() && !new.starts_with(&old)
    {
        return Err(TextFormError::Changed);
    }
    if new.is_empty() && !old.is_empty() {
        let Document::Object(object) = &mut next else {
            return Ok(());
        };
        object.0.retain(|(key, _)| key != TEXT);
        object.0.push((TEXT.to_owned(), Document::String(old)));
    }
    *before = next;
    Ok(())
}

/// Whether a sentence with another start may be a revision of the last one: they overlap, or
/// nothing but the text relates them and it continues.
fn may_be_revised(last: &Document, next: &Document, begins: i64) -> bool {
    match time(last, "end_time") {
        Some(end) => end > begins,
        None => text_of(next).starts_with(&text_of(last)),
    }
}

/// A time in microseconds. The unit of DashScope is milliseconds, with or without a fraction.
fn time(document: &Document, key: &str) -> Option<i64> {
    let time = number(value(document, key)?.clone()).ok()?;
    Some((time * 1000.0) as i64)
}

/// A name that is not an integer.
fn name_of(id: &Document) -> Option<String> {
    match id {
        Document::String(name) => Some(name.clone()),
        Document::Number(Real(number)) => Some(number.to_string()),
        Document::Null | Document::Bool(_) | Document::List(_) | Document::Object(_) => None,
    }
}

/// Removes the sentences from the keys of `output`, or of an object there, whose key is returned.
fn remove(extra: &mut Object) -> Option<(Option<String>, Document)> {
    if let Some(found) = remove_key(extra) {
        return Some((None, found));
    }
    let (at, key, found) = extra
        .0
        .iter_mut()
        .enumerate()
        .find_map(|(at, (key, value))| {
            let Document::Object(inner) = value else {
                return None;
            };
            let found = remove_key(inner)?;
            let is_empty = inner.is_empty();
            Some((is_empty.then_some(at), key.clone(), found))
        })?;
    if let Some(at) = at {
        extra.0.remove(at);
    }
    Some((Some(key), found))
}

fn remove_key(object: &mut Object) -> Option<Document> {
    let is_sentence = |value: &Document| {
        if let Document::List(items) = value {
            return !items.is_empty() && items.iter().all(is_one);
        }
        is_one(value)
    };
    let mut keys = object.0.iter();
    let at = keys.position(|(key, value)| key == SENTENCE && is_sentence(value))?;
    Some(object.0.remove(at).1)
}

fn is_one(document: &Document) -> bool {
    let has_text = matches!(value(document, TEXT), Some(Document::String(_)));
    has_text || value(document, "sentence_id").is_some()
}

/// The items of a list of sentences that can be distinguished; the value itself otherwise.
fn into_identified(document: Document) -> Result<Vec<Document>, Document> {
    let is_identified = |item: &Document| {
        let id = value(item, "sentence_id").and_then(name_of);
        id.is_some() || time(item, "begin_time").is_some()
    };
    if let Document::List(items) = document {
        return match items.iter().all(is_identified) {
            true => Ok(items),
            false => Err(Document::List(items)),
        };
    }
    Err(document)
}

fn text_of(document: &Document) -> String {
    sentence(document).map_or_else(String::new, |Text(text)| text.into_owned())
}

fn value<'d>(document: &'d Document, key: &str) -> Option<&'d Document> {
    let Document::Object(object) = document else {
        return None;
    };
    object.value(key).filter(|value| **value != Document::Null)
}
