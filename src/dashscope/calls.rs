//! The tool calls of an answer, told apart.
//!
//! A piece belongs to the call of its index, or of its place in the event when it has none. But
//! another id at the same index is another call: some models number all of them 0. So is another
//! name, unless it goes on from the one before: names may come in pieces as arguments do. And so
//! are arguments that begin anew behind a whole object; if nothing says which call they belong to,
//! that is an error. Callers see each call under an index of its own.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use super::annotations::owned;
use super::answer_json;
use super::delta_detector::{Form, Fresh, Growth, Trouble};
use super::json::{ObjectEnd, begins_object};
use super::json_text::Text;
use crate::chat::document::{Document, Object};
use crate::chat::dropped_parts::Losses;
use crate::chat::extra::Extra;
use crate::chat::message::ToolCall;

/// The most tool calls of one answer.
const MAX_TOOL_CALLS: usize = 1024;

/// The key of a call's `extra` under which those of its function stand.
const FUNCTION: &str = "function";

/// Why a tool call cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are too many.
    TooMany,
    /// Its arguments cannot be read.
    Arguments(Trouble),
}

/// The tool calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// The last call that DashScope gave an index.
    by_index: HashMap<i32, usize>,
    by_id: HashMap<String, usize>,
    /// The indices that callers see.
    taken: HashSet<i32>,
    event: u64,
    hasher: RandomState,
}

#[derive(Debug)]
struct Call {
    /// DashScope's index.
    wire_index: i32,
    index: i32,
    id: String,
    kind: String,
    name: String,
    arguments: Growth,
    /// Whether its arguments are a whole object, if they come in pieces.
    end: ObjectEnd,
    /// The hash of its arguments if they came as one whole object: they may come again.
    whole: Option<u64>,
    has_arguments: bool,
    extra: Extra,
    /// The event with its last piece.
    event: u64,
}

/// What a piece says of its call.
#[derive(Clone, Copy)]
struct Said<'p> {
    index: Option<i32>,
    place: usize,
    id: &'p str,
    name: &'p str,
    arguments: &'p str,
}

/// What a piece is to a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinship {
    /// It goes on with it.
    Next,
    /// It says all of its arguments again.
    Again,
    /// It begins another one.
    Other,
}

impl Calls {
    /// Whether the two readings of any arguments differ so far.
    pub(super) fn are_in_doubt(&self) -> bool {
        self.calls.iter().any(|call| call.arguments.is_in_doubt())
    }

    /// Whether arguments have come. Not known once they are known to be pieces.
    pub(super) fn have_arguments(&self) -> bool {
        self.calls.iter().any(|call| !call.arguments.is_empty())
    }

    /// What the arguments themselves say of their form: one reading is JSON, and the other is not.
    pub(super) fn form(&self) -> Option<Form> {
        let is_json = |text: &str| {
            begins_object(text) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        };
        self.calls.iter().find_map(|call| {
            let (pieces, whole) = call.arguments.readings();
            match (
                call.arguments.is_in_doubt(),
                is_json(pieces),
                is_json(whole),
            ) {
                (true, true, false) => Some(Form::Pieces),
                (true, false, true) => Some(Form::Cumulative),
                _ => None,
            }
        })
    }

    /// Takes a piece at a place in the event. Gives what is new of the call, if anything is.
    /// `choice` is the answer that it belongs to.
    pub(super) fn take(
        &mut self,
        place: usize,
        piece: answer_json::ToolCall<'_>,
        form: &mut Form,
        (choice, losses): (i32, &mut Losses),
    ) -> Result<Option<ToolCall>, Refused> {
        let function = piece.function.unwrap_or_default();
        let (id, name) = (owned(piece.id), owned(function.name));
        self.event += u64::from(place == 0);
        let mut text = Text::or_empty(&function.arguments);
        let said = Said {
            index: piece.index,
            place,
            id: &id,
            name: &name,
            arguments: text,
        };
        let (at, is_again) = self.place(said, *form)?;
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
        let Fresh { waited, new } = call
            .arguments
            .push(text, form)
            .map_err(Refused::Arguments)?;
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

    /// What waits of the arguments and of the other keys, at the end.
    pub(super) fn finish(&mut self, form: Form) -> Result<Vec<ToolCall>, Trouble> {
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

    /// Reports what may be missing of the other keys.
    pub(super) fn report(&self, choice: i32, losses: &mut Losses) {
        for call in &self.calls {
            let index = call.index;
            let at = format_args!("output.choices[{choice}].message.tool_calls[{index}]");
            call.extra.report(at, losses);
        }
    }

    /// Where the call of a piece stands, a new one if there is none, and whether its arguments come
    /// again.
    fn place(&mut self, said: Said<'_>, form: Form) -> Result<(usize, bool), Refused> {
        let place = i32::try_from(said.place).unwrap_or(i32::MAX);
        let wire_index = said.index.unwrap_or(place);
        let by_id = self.by_id.get(said.id).filter(|_| !said.id.is_empty());
        let by_id = by_id.filter(|at| {
            let known = self.calls.get(**at).map(|call| call.wire_index);
            said.index.is_none() || known == Some(wire_index)
        });
        if let Some(at) = by_id.or_else(|| self.by_index.get(&wire_index)).copied()
            && let Some(call) = self.calls.get(at)
        {
            match self.kinship(call, said, form).map_err(Refused::Arguments)? {
                Kinship::Next => return Ok((at, false)),
                Kinship::Again => return Ok((at, true)),
                Kinship::Other => {}
            }
        }
        if self.calls.len() >= MAX_TOOL_CALLS {
            return Err(Refused::TooMany);
        }
        let index = self.free_index(wire_index);
        self.by_index.insert(wire_index, self.calls.len());
        self.calls.push(Call {
            wire_index,
            index,
            id: String::new(),
            kind: String::new(),
            name: String::new(),
            arguments: Growth::default(),
            end: ObjectEnd::default(),
            whole: None,
            has_arguments: false,
            extra: Extra::default(),
            event: 0,
        });
        Ok((self.calls.len() - 1, false))
    }

    /// What a piece is to the call that its id or its index names.
    fn kinship(&self, call: &Call, said: Said<'_>, form: Form) -> Result<Kinship, Trouble> {
        let is_same_id = !said.id.is_empty() && call.id == said.id;
        if !said.id.is_empty() && !call.id.is_empty() && !is_same_id {
            return Ok(Kinship::Other);
        }
        if !is_same_id && !self.is_same_name(call, said) {
            return Ok(Kinship::Other);
        }
        let begins_anew = call.end.is_whole() && begins_object(said.arguments);
        let (_, latest) = call.arguments.readings();
        let has_grown =
            form == Form::Unknown && call.whole.is_none() && said.arguments.starts_with(latest);
        if !begins_anew || has_grown || matches!(form, Form::Cumulative | Form::Revised) {
            return Ok(Kinship::Next);
        }
        let is_again = call.whole == Some(self.hasher.hash_one(said.arguments));
        let is_named = is_same_id || said.index.is_some();
        match (is_again, is_named) {
            // Two calls that are alike, or one that is repeated.
            (true, false) if form == Form::Unknown => Err(Trouble::Undecided),
            (true, true) if call.event != self.event => Ok(Kinship::Again),
            _ if !is_same_id && !said.name.is_empty() => Ok(Kinship::Other),
            _ => Err(Trouble::Changed),
        }
    }

    /// Whether a name is the one of a call, or goes on from it.
    fn is_same_name(&self, call: &Call, said: Said<'_>) -> bool {
        if call.name.is_empty() || said.name.is_empty() || call.name == said.name {
            return true;
        }
        let is_later = call.event != self.event;
        let is_named = said.index.is_some() || !call.id.is_empty();
        is_later && is_named && !call.has_arguments
    }

    /// DashScope's index, or the first one that is free from the number of calls on.
    fn free_index(&mut self, wanted: i32) -> i32 {
        let count = i32::try_from(self.calls.len()).unwrap_or(i32::MAX);
        let mut free = std::iter::once(wanted).chain(count..).chain(0..);
        let free = free.find(|index| !self.taken.contains(index));
        let index = free.unwrap_or(wanted);
        self.taken.insert(index);
        index
    }
}

/// What is new of a name: it may come in pieces, and it may come again.
fn next_of_name(known: &mut String, said: String) -> String {
    let new = match said.strip_prefix(known.as_str()) {
        Some(rest) => rest.to_owned(),
        None => said,
    };
    known.push_str(&new);
    new
}

/// A name the first time that it is said, then nothing.
fn first_time(known: &mut String, said: String) -> String {
    if known.is_empty() {
        known.clone_from(&said);
        said
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Vec<ToolCall> {
        let events: Vec<Vec<answer_json::ToolCall<'_>>> = serde_json::from_str(json).unwrap();
        let (mut calls, mut form) = (Calls::default(), Form::Pieces);
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
    fn t1_another_id_or_name_at_an_index_is_another_call() {
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
    fn other_keys_are_kept_once() {
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
    fn there_is_a_bound() {
        let (mut calls, mut form) = (Calls::default(), Form::Pieces);
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
        assert_eq!(take(-1), Err(Refused::TooMany));
    }
}
