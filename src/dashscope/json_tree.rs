//! Reads any JSON into a tree without loss: see `lenient.rs`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::answer_json::{nested, repeated};
use super::json::{FIRST_UNSURE, integer};
use crate::chat::document::{Document, MAX_LEVELS, Object, Real};
use crate::chat::warning::{Code, Warning};

/// The maximum number of anomalies reported. One is enough to notice them.
const MAX_ODDITIES: usize = 16;

/// Reads any JSON into a document, with warnings about anomalies: duplicate keys, and values nested
/// so deeply that they are kept as JSON text.
pub(crate) fn document(json: &str) -> Option<(Document, Vec<Warning>)> {
    let read = |json: &str, unsure: bool| {
        let notes = RefCell::new(Notes::default());
        let seed = Tree {
            notes: &notes,
            unsure,
            level: 0,
        };
        let mut reader = serde_json::Deserializer::from_str(json);
        let document = seed.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some((document, notes.into_inner().warnings))
    };
    // The second pass reads numbers that no double holds as strings.
    read(json, false).or_else(|| read(&quoted(json), true))
}

/// Reads any JSON into a document, like [`document`], and JSON with halves of surrogate pairs.
pub(crate) fn any_document(json: &str) -> Option<(Document, Vec<Warning>)> {
    document(json).or_else(|| with_lone_surrogates(json))
}

/// Reads JSON whose strings have halves of surrogate pairs, which no Unicode text can hold: each
/// becomes U+FFFD, and a warning reports it.
fn with_lone_surrogates(json: &str) -> Option<(Document, Vec<Warning>)> {
    let (document, mut warnings) = document(&replaced_surrogates(json)?)?;
    let message = "the text has half of a surrogate pair in DashScope's answer; it is U+FFFD";
    warnings.push(Warning::new(Code::AnswerPartDropped, "", message));
    Some((document, warnings))
}

/// The JSON with `\ufffd` for each unpaired surrogate. `None` if there is none.
fn replaced_surrogates(json: &str) -> Option<String> {
    /// The UTF-16 unit of an escape at the start.
    fn unit(text: &str) -> Option<u32> {
        u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
    }
    const ESCAPE: usize = "\\ud83d".len();

    let mut replaced = String::with_capacity(json.len());
    let mut found = false;
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        replaced.push_str(before);
        let after = escape.get(ESCAPE..).unwrap_or_default();
        let length = match (unit(escape), unit(after)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 2 * ESCAPE,
            (Some(0xd800..0xe000), _) => {
                found = true;
                replaced.push_str("\\ufffd");
                rest = after;
                continue;
            }
            // The escaped character may be a backslash.
            _ => escape
                .char_indices()
                .nth(2)
                .map_or(escape.len(), |(end, _)| end),
        };
        let (kept, remaining) = escape.split_at_checked(length).unwrap_or((escape, ""));
        replaced.push_str(kept);
        rest = remaining;
    }
    replaced.push_str(rest);
    found.then_some(replaced)
}

/// Anomalies found while a tree is read.
#[derive(Default)]
struct Notes {
    path: Vec<String>,
    warnings: Vec<Warning>,
}

impl Notes {
    /// Records a duplicate key at this path.
    fn twice(&mut self, key: &str) {
        let path = self.path.iter().map(String::as_str).chain([key]);
        let path = path.collect::<Vec<_>>().join(".");
        self.warn(repeated(path));
    }

    /// Records that the value at this path is nested too deeply.
    fn deep(&mut self) {
        self.warn(nested(self.path.join(".")));
    }

    fn warn(&mut self, warning: Warning) {
        if self.warnings.len() < MAX_ODDITIES && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Reads any value.
#[derive(Clone, Copy)]
struct Tree<'n> {
    notes: &'n RefCell<Notes>,
    /// Whether large numbers are exact: the others were quoted before.
    unsure: bool,
    /// The number of enclosing objects and lists.
    level: u32,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Document, E> {
        Ok(integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Document, E> {
        Ok(integer(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Document, E> {
        if !self.unsure && value.fract() == 0.0 && value.abs() >= FIRST_UNSURE {
            return Err(E::custom("a number may have been rounded"));
        }
        Ok(Document::Number(Real(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Document, E> {
        Ok(Document::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let mut list = Vec::new();
        let inner = self.inner();
        if inner.is_deepest() {
            while let Some(raw) = items.next_element::<&RawValue>()? {
                list.push(inner.flat(raw)?);
            }
            return Ok(Document::List(list));
        }
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Document::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let mut object: Vec<(String, Document)> = Vec::new();
        let mut places = HashMap::new();
        let inner = self.inner();
        while let Some(key) = entries.next_key::<String>()? {
            self.notes.borrow_mut().path.push(key.clone());
            let value = if key == "arguments" && self.in_tool_calls() {
                arguments(entries.next_value()?)
            } else if inner.is_deepest() {
                inner.flat(entries.next_value()?)?
            } else {
                entries.next_value_seed(inner)?
            };
            self.notes.borrow_mut().path.pop();
            match places.get(&key).and_then(|at: &usize| object.get_mut(*at)) {
                Some((_, old)) => {
                    self.notes.borrow_mut().twice(&key);
                    *old = value;
                }
                None => {
                    places.insert(key.clone(), object.len());
                    object.push((key, value));
                }
            }
        }
        Ok(Document::Object(Object(object)))
    }
}

impl Tree<'_> {
    /// The reader of nested values.
    fn inner(self) -> Self {
        let level = self.level + 1;
        Self { level, ..self }
    }

    /// Whether no further object or list may be nested here.
    fn is_deepest(self) -> bool {
        self.level >= MAX_LEVELS
    }

    /// Reads a value at the deepest level. Objects and lists are kept as JSON text, which protobuf
    /// decoders can handle.
    fn flat<E: de::Error>(self, raw: &RawValue) -> Result<Document, E> {
        let json = raw.get();
        if json.starts_with(['{', '[']) {
            self.notes.borrow_mut().deep();
            return Ok(Document::String(compact(json)));
        }
        let mut reader = serde_json::Deserializer::from_str(json);
        self.deserialize(&mut reader).map_err(E::custom)
    }

    fn in_tool_calls(self) -> bool {
        let notes = self.notes.borrow();
        notes.path.iter().any(|key| key == "tool_calls")
    }
}

/// The arguments of a tool call: a string, or JSON that becomes a string, with its numbers
/// unchanged.
fn arguments(raw: &RawValue) -> Document {
    let json = raw.get();
    if json == "null" {
        return Document::Null;
    }
    let text = match json.starts_with('"') {
        true => serde_json::from_str(json).unwrap_or_default(),
        false => compact(json),
    };
    Document::String(text)
}

/// JSON without white space between its tokens.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut kept = |c: &char| {
        if in_string {
            match (escaped, c) {
                (true, _) => escaped = false,
                (false, '\\') => escaped = true,
                (false, '"') => in_string = false,
                (false, _) => {}
            }
            return true;
        }
        in_string = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(|c| kept(c)).collect()
}

/// The same JSON, with each number that no double holds as a string.
fn quoted(json: &str) -> String {
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let end = if c == '"' {
            end_of_string(rest)
        } else if c.is_ascii_digit() || c == '-' {
            rest.find(|c| !is_number(c)).unwrap_or(rest.len())
        } else {
            let next = |c: char| c == '"' || c == '-' || c.is_ascii_digit();
            rest.find(next).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(end);
        let number = c.is_ascii_digit() || c == '-';
        if number && !is_held(token) {
            out.extend(["\"", token, "\""]);
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out
}

/// The end of the string that begins here.
fn end_of_string(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().enumerate().skip(1).find(|(_, byte)| {
        let ends = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        ends
    });
    end.map_or(json.len(), |(at, _)| at + 1)
}

/// Whether a double holds this number with sufficient precision.
fn is_held(token: &str) -> bool {
    let whole = token.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    match token.parse::<f64>() {
        Ok(value) => value.is_finite() && !(whole && value.abs() >= FIRST_UNSURE),
        // Not a number: the parser reports that.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_surrogate_is_replaced_and_reported_and_pairs_are_kept() {
        for (json, expected) in [
            (r#"{"a":"\ud83d"}"#, "\u{fffd}"),
            (r#"{"a":"x\ude00y"}"#, "x\u{fffd}y"),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀"),
            (r#"{"a":"\\ud83d \ud83d哈"}"#, "\\ud83d \u{fffd}哈"),
        ] {
            assert_eq!(document(json), None, "{json}");
            let (read, warnings) = with_lone_surrogates(json).unwrap();
            let expected = Object(vec![(
                "a".to_owned(),
                Document::String(expected.to_owned()),
            )]);
            assert_eq!(read, Document::Object(expected), "{json}");
            assert_eq!(warnings.len(), 1, "{json}");
        }
        assert_eq!(with_lone_surrogates(r#"{"a":"\ud83d\ude00 \\"}"#), None);
        assert_eq!(with_lone_surrogates(r#"{"a":"\ud83d""#), None);
    }
}
