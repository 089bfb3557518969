//! What a request says of a stored conversation.

use std::collections::HashMap;
use std::time::Duration;

use crate::chat::stored::{HistoryMedia, HistoryPolicy, StoredConversation};
use crate::conversations::management::Labels;
use crate::error::{Error, Reason};

use super::field_violations::FieldViolations;
use super::pb;
use super::span::span;

/// The maximum length of an id. Enough for a UUID and a prefix.
const MAX_ID: usize = 64;

/// The default and the maximum number of turns that are sent.
const DEFAULT_TURNS: u32 = 100;
const MAX_TURNS: u32 = 1000;

/// Limits of labels: enough to find a conversation by, too few to store content in.
const MAX_LABELS: usize = 32;
const MAX_LABEL_KEY: usize = 63;
const MAX_LABEL_VALUE: usize = 256;

/// The limits of a time to live.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(87_600 * 3600);

const COLLECTION: &str = "conversations/";
const TURNS: &str = "/turns/";

/// The error of a gateway without a store.
pub(super) fn no_store() -> Error {
    let message = "this gateway stores no conversations: set store.url in its configuration, or \
                   leave conversation.name empty and send all messages";
    Error::new(Reason::NamedConversation, message)
}

/// The stored conversation of a call; `None` without a name.
pub(super) fn stored(
    name: &str,
    (expected_turn, history, uses_model): (Option<i32>, Option<pb::HistoryPolicy>, bool),
    faults: &mut FieldViolations,
) -> Option<Box<StoredConversation>> {
    if name.is_empty() {
        for (field, is_set) in [
            ("expected_turn", expected_turn.is_some()),
            ("history", history.is_some()),
        ] {
            if is_set {
                faults.add(field, "is used with conversation.name only; leave it out");
            }
        }
        return None;
    }
    let Some(id) = id_of(name) else {
        faults.add("conversation.name", BAD_NAME);
        return None;
    };
    if expected_turn.is_some_and(|turn| turn < 0) {
        faults.add("expected_turn", "must not be negative");
    }
    Some(Box::new(StoredConversation {
        id: id.into(),
        expected_turn: expected_turn.map(i64::from),
        policy: policy("history", history.unwrap_or_default(), faults),
        uses_model,
    }))
}

/// The stored conversation of a live session.
pub(super) fn live(
    from: pb::LiveConversation,
    faults: &mut FieldViolations,
) -> Option<Box<StoredConversation>> {
    let path = "setup.conversation";
    let id = id_of(&from.name);
    if id.is_none() {
        faults.add(format_args!("{path}.name"), BAD_NAME);
    }
    if from.expected_turn.is_some_and(|turn| turn < 0) {
        let field = format_args!("{path}.expected_turn");
        faults.add(field, "must not be negative");
    }
    let history = from.history.unwrap_or_default();
    let no_media = [pb::HistoryMedia::Unspecified, pb::HistoryMedia::None];
    if !no_media.map(i32::from).contains(&history.media) {
        let what = "must be HISTORY_MEDIA_NONE, or not set: a live session sends text only";
        faults.add(format_args!("{path}.history.media"), what);
    }
    let history = pb::HistoryPolicy {
        media: pb::HistoryMedia::None.into(),
        ..history
    };
    let policy = policy(&format!("{path}.history"), history, faults);
    Some(Box::new(StoredConversation {
        id: id?.into(),
        expected_turn: from.expected_turn.map(i64::from),
        policy,
        uses_model: false,
    }))
}

fn policy(path: &str, policy: pb::HistoryPolicy, faults: &mut FieldViolations) -> HistoryPolicy {
    let max_turns = match policy.max_turns.map(u32::try_from) {
        None => DEFAULT_TURNS,
        Some(Ok(turns)) if turns <= MAX_TURNS => turns,
        Some(_) => {
            faults.add(format_args!("{path}.max_turns"), "must be from 0 to 1000");
            DEFAULT_TURNS
        }
    };
    let max_input_tokens = policy.max_input_tokens.map(u64::try_from);
    if max_input_tokens.is_some_and(|tokens| tokens.is_err()) {
        faults.add(
            format_args!("{path}.max_input_tokens"),
            "must not be negative",
        );
    }
    HistoryPolicy {
        max_turns,
        max_input_tokens: max_input_tokens.and_then(Result::ok),
        media: match pb::HistoryMedia::try_from(policy.media) {
            Ok(pb::HistoryMedia::Unspecified | pb::HistoryMedia::All) => HistoryMedia::All,
            Ok(pb::HistoryMedia::LastTurn) => HistoryMedia::LastTurn,
            Ok(pb::HistoryMedia::None) => HistoryMedia::None,
            Err(_) => {
                let what = "must be HISTORY_MEDIA_ALL, _LAST_TURN or _NONE, or not set";
                faults.add(format_args!("{path}.media"), what);
                HistoryMedia::None
            }
        },
    }
}

/// Refuses fields that a call cannot change.
pub(super) fn check_fields(conversation: &pb::Conversation, faults: &mut FieldViolations) {
    for (field, is_set) in [
        ("labels", !conversation.labels.is_empty()),
        ("ttl", conversation.ttl.is_some()),
    ] {
        if is_set {
            let fix = "is set with CreateConversation or UpdateConversation; leave it out";
            faults.add(format_args!("conversation.{field}"), fix);
        }
    }
}

const BAD_NAME: &str = "must be `conversations/{id}`, with an id of 1 to 64 letters, digits, `.`, \
                        `_` and `-`";

/// The id in the name of a conversation.
pub(super) fn id_of(name: &str) -> Option<&str> {
    name.strip_prefix(COLLECTION).filter(|id| is_id(id))
}

/// The id in a required name, or the error of this field.
pub(super) fn required_id<'a>(field: &str, name: &'a str) -> Result<&'a str, Error> {
    id_of(name).ok_or_else(|| Error::field(field, BAD_NAME))
}

/// The id and the number in the name of a turn.
pub(super) fn turn_of(name: &str) -> Result<(&str, i64), Error> {
    let split = || {
        let (conversation, number) = name.split_once(TURNS)?;
        let number = number
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then_some(number)?;
        Some((id_of(conversation)?, number.parse().ok()?))
    };
    let fix = "must be `conversations/{id}/turns/{number}`";
    split().ok_or_else(|| Error::field("name", fix))
}

/// The id of a new conversation: the chosen one, or a new one.
pub(super) fn new_id(chosen: String) -> Result<String, Error> {
    if chosen.is_empty() {
        return Ok(uuid::Uuid::new_v4().hyphenated().to_string());
    }
    match is_id(&chosen) {
        true => Ok(chosen),
        false => Err(Error::field(
            "conversation_id",
            "must be 1 to 64 letters, digits, `.`, `_` and `-`",
        )),
    }
}

/// Whether this is the id of a conversation.
pub(super) fn is_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(allowed)
}

/// The name of a conversation.
pub(super) fn name(id: &str) -> String {
    format!("{COLLECTION}{id}")
}

/// The name of a turn.
pub(super) fn turn_name(id: &str, number: i64) -> String {
    format!("{COLLECTION}{id}{TURNS}{number}")
}

/// Checks labels.
pub(super) fn labels(from: HashMap<String, String>) -> Result<Labels, Error> {
    let fits = |(key, value): (&String, &String)| {
        (1..=MAX_LABEL_KEY).contains(&key.len()) && value.len() <= MAX_LABEL_VALUE
    };
    match from.len() <= MAX_LABELS && from.iter().all(fits) {
        true => Ok(from.into_iter().collect()),
        false => Err(Error::field(
            "conversation.labels",
            "must be at most 32, with keys of 1 to 63 bytes and values of at most 256 bytes",
        )),
    }
}

/// Checks a time to live.
pub(super) fn ttl(from: prost_types::Duration) -> Result<Duration, Error> {
    let ttl = span(from).filter(|ttl| (MIN_TTL..=MAX_TTL).contains(ttl));
    ttl.ok_or_else(|| Error::field("conversation.ttl", "must be from 1 second to 10 years"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_a_known_choice_of_media() {
        for (media, is_known) in [(0, true), (3, true), (4, false), (-1, false)] {
            let mut faults = FieldViolations::default();
            let from = pb::HistoryPolicy {
                media,
                ..pb::HistoryPolicy::default()
            };
            policy("history", from, &mut faults);
            assert_eq!(faults.check().is_ok(), is_known, "{media}");
        }
    }

    #[test]
    fn names_have_an_id_of_their_alphabet() {
        for (name, id) in [
            ("conversations/a", Some("a")),
            ("conversations/A-b_c.9", Some("A-b_c.9")),
            ("conversations/", None),
            ("conversations", None),
            ("a", None),
            ("conversations/a/b", None),
            ("conversations/ä", None),
            ("conversations/a b", None),
        ] {
            assert_eq!(id_of(name), id, "{name}");
        }
        assert_eq!(
            id_of(&name(&"x".repeat(64))),
            Some("x".repeat(64)).as_deref()
        );
        assert_eq!(id_of(&name(&"x".repeat(65))), None);
        assert_eq!(turn_of("conversations/a/turns/12").unwrap(), ("a", 12));
        for name in [
            "conversations/a",
            "conversations/a/turns/",
            "conversations/a/turns/-1",
        ] {
            assert!(turn_of(name).is_err(), "{name}");
        }
    }
}
