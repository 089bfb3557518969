//! Assembles the tool calls of an answer from their deltas.
//!
//! A delta belongs to the call with its index, or with its position in the event if it has no
//! index. A different id at the same index begins another call, because some models number all
//! calls 0. So does a different name, unless it continues the previous one: names may be split as
//! arguments are. So do arguments that start again after a complete object; if nothing identifies
//! their call, that is an error. Each call gets an index that is unique in the answer.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use super::annotations::owned;
use super::answer_json;
use super::delta_detector::{DeltaDetector, NewText, TextForm, TextFormError};
use super::json::{ObjectEnd, begins_object};
use super::json_text::Text;
use crate::chat::document::{Document, Object};
use crate::chat::dropped_parts::Losses;
use crate::chat::extra::Extra;
use crate::chat::message::ToolCall;

/// The maximum number of tool calls in one answer.
const MAX_TOOL_CALLS: usize = 1024;

/// The key of a tool call's `extra` that holds the unknown keys of its `function`.
const FUNCTION: &str = "function";

/// Why a tool call is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolCallError {
    /// More than [`MAX_TOOL_CALLS`].
    TooMany,
    /// The form of its arguments is ambiguous or contradictory.
    Arguments(TextFormError),
}

/// The tool calls of one choice.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<Call>,
    /// The position of the latest call for each index of DashScope's.
    by_index: HashMap<i32, usize>,
    by_id: HashMap<String, usize>,
    /// The indices that were emitted.
    taken: HashSet<i32>,
    event: u64,
    hasher: RandomState,
}

#[derive(Debug)]
struct Call {
    /// The index in DashScope's JSON.
    wire_index: i32,
    index: i32,
    id: String,
    kind: String,
    name: String,
    arguments: DeltaDetector,
    /// Detects the end of the arguments' object, if they come in pieces.
    end: ObjectEnd,
    /// The hash of arguments that came as one complete object, to detect their repetition.
    whole: Option<u64>,
    has_arguments: bool,
    extra: Extra,
    /// The number of the event with its latest delta.
    event: u64,
}

/// The identifying fields of a delta.
#[derive(Clone, Copy)]
struct CallIdentity<'p> {
    index: Option<i32>,
    place: usize,
    id: &'p str,
    name: &'p str,
    arguments: &'p str,
}

/// How a delta relates to a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// It continues the call.
    Next,
    /// It repeats all arguments of the call.
    Again,
    /// It begins another call.
    Other,
}

impl ToolCalls {
    /// Whether the two interpretations of any arguments differ so far.
    pub(super) fn are_ambiguous(&self) -> bool {
        self.calls.iter().any(|call| call.arguments.is_ambiguous())
    }

    /// Whether arguments were received. Not maintained once they are known to be pieces.
    pub(super) fn have_arguments(&self) -> bool {
        self.calls.iter().any(|call| !call.arguments.is_empty())
    }

    /// The form that the arguments imply: only one interpretation is valid JSON.
    pub(super) fn form(&self) -> Option<TextForm> {
        let is_json = |text: &str| {
            begins_object(text) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        };
        self.calls.iter().find_map(|call| {
            let (pieces, whole) = call.arguments.readings();
            match (
                call.arguments.is_ambiguous(),
                is_json(pieces),
                is_json(whole),
            ) {
                (true, true, false) => Some(TextForm::Pieces),
                (true, false, true) => Some(TextForm::Cumulative),
                _ => None,
            }
        })
    }

    /// Decodes the delta at a position of the event. Returns what is new of the call. `choice` is
    /// the index of the choice.
    pub(super) fn take(
        &mut self,
        place: usize,
        piece: answer_json::ToolCall<'_>,
        form: &mut TextForm,
        (choice, losses): (i32, &mut Losses),
    ) -> Result<Option<ToolCall>, ToolCallError> {
        let function = piece.function.unwrap_or_default();
        let (id, name) = (owned(piece.id), owned(function.name));
        self.event += u64::from(place == 0);
        let mut text = Text::or_empty(&function.arguments);
        let identity = CallIdentity {
            index: piece.index,
            place,
            id: &id,
            name: &name,
            arguments: text,
        };
        let (at, is_again) = self.place(identity, *form)?;
        let Some(call) = self.calls.get_mut(at) else {
            return Ok(None);
        };
        call.event = self.event;
        if is_again {
            text = "";
        }
        call.end.push(text);
        if !call.has_arguments && call.end.is_whole() {
            call.whole = Some(self.hasher.hash_one(text));
        }
        call.has_arguments |= !text.is_empty();
        let NewText { waited, new } = call
            .arguments
            .push(text, form)
            .map_err(ToolCallError::Arguments)?;
        let mut extra = piece.extra;
        if !function.extra.is_empty() {
            let value = Document::Object(function.extra);
            extra.merge(Object(vec![(FUNCTION.to_owned(), value)]));
        }
        if !extra.is_empty() {
            let index = call.index;
            let at = format_args!("output.choices[{choice}].message.tool_calls[{index}]");
            extra = call.extra.show(extra, at, losses);
        }
        if call.id.is_empty() && !id.is_empty() {
            self.by_id.insert(id.clone(), at);
        }
        let new = ToolCall {
            index: call.index,
            id: first_time(&mut call.id, id),
            kind: first_time(&mut call.kind, owned(piece.kind)),
            name: next_of_name(&mut call.name, name),
            arguments: waited + text.get(new).unwrap_or_default(),
            extra,
        };
        let nothing = ToolCall {
            index: call.index,
            ..ToolCall::default()
        };
        Ok((new != nothing).then_some(new))
    }

    /// Returns withheld arguments and other keys at the end.
    pub(super) fn finish(&mut self, form: TextForm) -> Result<Vec<ToolCall>, TextFormError> {
        let mut rest = Vec::new();
        for call in &mut self.calls {
            let arguments = call.arguments.finish(form)?;
            let extra = call.extra.waiting();
            if !arguments.is_empty() || !extra.is_empty() {
                rest.push(ToolCall {
                    index: call.index,
                    arguments,
                    extra,
                    ..ToolCall::default()
                });
            }
        }
        Ok(rest)
    }

    /// Reports losses in the other keys.
    pub(super) fn report(&self, choice: i32, losses: &mut Losses) {
        for call in &self.calls {
            let index = call.index;
            let at = format_args!("output.choices[{choice}].message.tool_calls[{index}]");
            call.extra.report(at, losses);
        }
    }

    /// Returns the position of the delta's call, which is created if absent, and whether its
    /// arguments are repeated.
    fn place(
        &mut self,
        identity: CallIdentity<'_>,
        form: TextForm,
    ) -> Result<(usize, bool), ToolCallError> {
        let place = i32::try_from(identity.place).unwrap_or(i32::MAX);
        let wire_index = identity.index.unwrap_or(place);
        let by_id = self
            .by_id
            .get(identity.id)
            .filter(|_| !identity.id.is_empty());
        let by_id = by_id.filter(|at| {
            let known = self.calls.get(**at).map(|call| call.wire_index);
            identity.index.is_none() || known == Some(wire_index)
        });
        if let Some(at) = by_id.or_else(|| self.by_index.get(&wire_index)).copied()
            && let Some(call) = self.calls.get(at)
        {
            match self
                .relation(call, identity, form)
                .map_err(ToolCallError::Arguments)?
            {
                Relation::Next => return Ok((at, false)),
                Relation::Again => return Ok((at, true)),
                Relation::Other => {}
            }
        }
        if self.calls.len() >= MAX_TOOL_CALLS {
            return Err(ToolCallError::TooMany);
        }
        let index = self.free_index(wire_index);
        self.by_index.insert(wire_index, self.calls.len());
        self.calls.push(Call {
            wire_index,
            index,
            id: String::new(),
            kind: String::new(),
            name: String::new(),
            arguments: DeltaDetector::default(),
            end: ObjectEnd::default(),
            whole: None,
            has_arguments: false,
            extra: Extra::default(),
            event: 0,
        });
        Ok((self.calls.len() - 1, false))
    }

    /// Relates a delta to the call that its id or index identifies.
    fn relation(
        &self,
        call: &Call,
        identity: CallIdentity<'_>,
        form: TextForm,
    ) -> Result<Relation, TextFormError> {
        let is_same_id = !identity.id.is_empty() && call.id == identity.id;
        if !identity.id.is_empty() && !call.id.is_empty() && !is_same_id {
            return Ok(Relation::Other);
        }
        if !is_same_id && !self.is_same_name(call, identity) {
            return Ok(Relation::Other);
        }
        let begins_anew = call.end.is_whole() && begins_object(identity.arguments);
        let (_, latest) = call.arguments.readings();
        let has_grown = form == TextForm::Unknown
            && call.whole.is_none()
            && identity.arguments.starts_with(latest);
        if !begins_anew || has_grown || matches!(form, TextForm::Cumulative | TextForm::Revised) {
            return Ok(Relation::Next);
        }
        let is_again = call.whole == Some(self.hasher.hash_one(identity.arguments));
        let is_named = is_same_id || identity.index.is_some();
        match (is_again, is_named) {
            // Two identical calls, or one that is repeated.
            (true, false) if form == TextForm::Unknown => Err(TextFormError::Undecided),
            (true, true) if call.event != self.event => Ok(Relation::Again),
            _ if !is_same_id && !identity.name.is_empty() => Ok(Relation::Other),
            _ => Err(TextFormError::Changed),
        }
    }

    /// Whether a name equals the call's name or continues it.
    fn is_same_name(&self, call: &Call, identity: CallIdentity<'_>) -> bool {
        if call.name.is_empty() || identity.name.is_empty() || call.name == identity.name {
            return true;
        }
        let is_later = call.event != self.event;
        let is_named = identity.index.is_some() || !call.id.is_empty();
        is_later && is_named && !call.has_arguments
    }

    /// DashScope's index, or the first free one from the number of calls on.
    fn free_index(&mut self, wanted: i32) -> i32 {
        let count = i32::try_from(self.calls.len()).unwrap_or(i32::MAX);
        let mut free = std::iter::once(wanted).chain(count..).chain(0..);
        let free = free.find(|index| !self.taken.contains(index));
        let index = free.unwrap_or(wanted);
        self.taken.insert(index);
        index
    }
}

/// The new part of a name, which may be split or repeated.
fn next_of_name(known: &mut String, text: String) -> String {
    let new = match text.strip_prefix(known.as_str()) {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    known.push_str(&new);
    new
}

/// Returns a name when it is first received, and an empty string afterwards.
fn first_time(known: &mut String, text: String) -> String {
    if known.is_empty() {
        known.clone_from(&text);
        text
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Vec<ToolCall> {
        let events: Vec<Vec<answer_json::ToolCall<'_>>> = serde_json::from_str(json).unwrap();
        let (mut calls, mut form) = (ToolCalls::default(), TextForm::Pieces);
        let mut whole: Vec<ToolCall> = Vec::new();
        for event in events {
            for (place, piece) in event.into_iter().enumerate() {
                let Some(new) = calls
                    .take(place, piece, &mut form, (0, &mut Losses::default()))
                    .unwrap()
                else {
                    continue;
                };
                match whole.iter_mut().find(|call| call.index == new.index) {
                    None => whole.push(new),
                    Some(call) => {
                        assert!(new.id.is_empty() && new.name.is_empty());
                        call.arguments += &new.arguments;
                    }
                }
            }
        }
        whole
    }

    fn seen(json: &str) -> String {
        let seen = read(json).into_iter().map(|call| {
            let ToolCall {
                index,
                id,
                name,
                arguments,
                ..
            } = call;
            format!("{index}{id}:{name}({arguments})")
        });
        seen.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn t1_a_different_id_or_name_at_an_index_begins_another_call() {
        for (json, expected) in [
            (
                r#"[[{"index":0,"id":"a","function":{"name":"f","arguments":"1"}},
                     {"index":0,"id":"b","function":{"name":"f","arguments":"2"}}]]"#,
                "0a:f(1) 1b:f(2)",
            ),
            (
                r#"[[{"id":"a","function":{"name":"f","arguments":"1"}}],
                    [{"id":"b","function":{"name":"f","arguments":"2"}}]]"#,
                "0a:f(1) 1b:f(2)",
            ),
            (
                r#"[[{"index":0,"id":"a","function":{"name":"f","arguments":"1"}}],
                    [{"index":0,"id":"","function":{"arguments":"2"}}],
                    [{"index":0,"id":"b","function":{"name":"f","arguments":"3"}}],
                    [{"index":0,"function":{"arguments":"4"}}],
                    [{"index":0,"id":"a","function":{"arguments":"5"}}],
                    [{"index":1,"id":"c","function":{"name":"g","arguments":"6"}}]]"#,
                "0a:f(125) 1b:f(34) 2c:g(6)",
            ),
            (
                r#"[[{"index":0,"function":{"name":"f","arguments":"1"}},
                     {"index":0,"function":{"name":"g","arguments":"2"}}]]"#,
                "0:f(1) 1:g(2)",
            ),
            (
                r#"[[{"index":3,"id":"a","function":{"name":"f"}}],
                    [{"index":3,"id":"a","function":{"name":"f","arguments":"x"}}]]"#,
                "3a:f(x)",
            ),
        ] {
            assert_eq!(seen(json), expected, "{json}");
        }
    }

    #[test]
    fn unknown_keys_are_kept_once() {
        let json = r#"[[{"index":0,"id":"a","x":1,"function":{"name":"f","y":2}}],
                       [{"index":0,"id":"a","x":1,"function":{"arguments":"1","y":2}}]]"#;
        let calls = read(json);
        let keys: Vec<_> = calls[0]
            .extra
            .0
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(keys, ["x", "function"]);
        assert_eq!(calls.len(), 1);
    }

    #[test]
    fn the_number_of_tool_calls_is_bounded() {
        let (mut calls, mut form) = (ToolCalls::default(), TextForm::Pieces);
        let mut take = |n: i32| {
            let piece = answer_json::ToolCall {
                index: Some(n),
                ..answer_json::ToolCall::default()
            };
            calls.take(0, piece, &mut form, (0, &mut Losses::default()))
        };
        for n in 0..MAX_TOOL_CALLS as i32 {
            assert_eq!(take(n), Ok(None));
        }
        assert_eq!(take(-1), Err(ToolCallError::TooMany));
    }
}
