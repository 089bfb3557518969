//! Stored conversations as text.

use std::fmt::Write as _;

use dashgate_client::v1 as pb;
use dashgate_client::v1::content::Kind;

use super::conversation_names::COLLECTION;
use super::gateway_output::columns;

fn time(at: Option<prost_types::Timestamp>) -> String {
    at.map_or_else(String::new, |at| {
        prost_types::Timestamp {
            seconds: at.seconds,
            nanos: 0,
        }
        .to_string()
    })
}

/// One line for each conversation.
pub(super) fn table(all: &[pb::Conversation]) -> String {
    let head = ["ID", "MODEL", "TURNS", "UPDATED", "EXPIRES"];
    let rows = all.iter().map(|one| {
        let model = match one.model.is_empty() {
            true => "-".to_owned(),
            false => one.model.clone(),
        };
        [
            one.name
                .strip_prefix(COLLECTION)
                .unwrap_or(&one.name)
                .to_owned(),
            model,
            one.turn_count.to_string(),
            time(one.update_time),
            time(one.expire_time),
        ]
    });
    columns(head, rows)
}

/// The properties of a conversation, and its turns.
pub(super) fn description(conversation: &pb::Conversation, turns: &[pb::Turn]) -> String {
    let mut labels: Vec<_> = conversation.labels.iter().collect();
    labels.sort();
    let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
    let mut text = String::new();
    for (name, value) in [
        ("name", conversation.name.clone()),
        ("model", conversation.model.clone()),
        ("labels", labels.collect::<Vec<_>>().join(", ")),
        ("turns", conversation.turn_count.to_string()),
        ("created", time(conversation.create_time)),
        ("updated", time(conversation.update_time)),
        ("expires", time(conversation.expire_time)),
        ("running", conversation.running_request_id.clone()),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<8}  {value}");
        }
    }
    for turn in turns {
        let state = match turn.state() {
            pb::TurnState::Complete => String::new(),
            pb::TurnState::Failed => format!(" failed: {}", turn.error_reason().as_str_name()),
            pb::TurnState::Running => " running".to_owned(),
            pb::TurnState::Cancelled => " cancelled".to_owned(),
            pb::TurnState::Unspecified => " unknown".to_owned(),
        };
        let _ = writeln!(text, "\n[{}]{state}", turn.number);
        for message in turn.messages.iter().chain(&turn.answer) {
            let role = message.role().as_str_name();
            let role = role.strip_prefix("ROLE_").unwrap_or(role).to_lowercase();
            let _ = writeln!(text, "{role}: {}", words(message));
        }
    }
    text
}

/// The text of a message, with the kinds of its media.
fn words(message: &pb::Message) -> String {
    let parts = message.content.iter().map(|part| match &part.kind {
        Some(Kind::Text(text)) => text.clone(),
        Some(Kind::Audio(_)) => "[audio]".to_owned(),
        Some(Kind::Image(_)) => "[image]".to_owned(),
        Some(Kind::Video(_)) => "[video]".to_owned(),
        None => "[other]".to_owned(),
    });
    let calls = message.tool_calls.iter();
    let calls = calls.map(|call| format!("[{}({})]", call.name, call.arguments));
    parts.chain(calls).collect::<Vec<_>>().join(" ")
}
