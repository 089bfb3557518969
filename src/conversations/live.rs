//! Stored conversations in live sessions: their history as text, and the turns of a session.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::chat::call::Tenant;
use crate::chat::estimate;
use crate::chat::live_turn::{
    LiveHistory, LiveTurn, LiveTurnEnd, MAX_HISTORY_BYTES, MAX_HISTORY_MESSAGES, SpokenText,
};
use crate::chat::message::{Body, Part, Role, Turn};
use crate::chat::stored::{HistoryUsed, StoredConversation};
use crate::error::Error;
use crate::store::live_turns::{EndedTurn, Opened};
use crate::store::turn::{Answered, Loss, Refusal, TurnEnd};
use crate::store::turn_list::LatestTurn;

use super::Conversations;
use super::content::{decode, encode};
use super::errors::{instructions_too_long, lost, not_found, refused, regressed};
use super::history::{FirstRead, Part as HistoryPart, leave_out_media, parts};
use super::turn::encode_usage;

/// The bytes of a stored turn beyond which it is left out without being read. Its text alone may
/// be less; most of such a turn is none.
const MAX_TURN_BYTES: i64 = 1 << 20;

/// The bytes of all turns that are read. Turns before them are left out: those that are so much
/// larger than their texts would take long to read, and to no end.
const MAX_READ_BYTES: i64 = 8 << 20;

/// A stored conversation that a live session continues.
#[derive(Clone, Debug)]
pub struct LiveConversation {
    conversations: Conversations,
    tenant: Tenant,
    id: Arc<str>,
    /// When it was created.
    created: i64,
}

impl Conversations {
    /// Opens a conversation for a session, with the history to send. A session that has
    /// instructions of its own does not need those of the history.
    pub async fn open_live(
        &self,
        tenant: &Tenant,
        of: &StoredConversation,
        has_instructions: bool,
    ) -> Result<(LiveConversation, LiveHistory), Error> {
        let key = (tenant, &*of.id);
        let opened = self.store.open_conversation(key, of.expected_turn).await?;
        let opened = opened.map_err(refused)?;
        let mut history = self.live_history(tenant, of, opened).await?;
        if !has_instructions && opened.system_turn > 0 {
            history.instructions = self.live_instructions(key, opened.system_turn).await?;
        }
        let conversation = LiveConversation {
            conversations: self.clone(),
            tenant: *tenant,
            id: Arc::clone(&of.id),
            created: opened.created,
        };
        Ok((conversation, history))
    }

    /// The instructions of this turn. They are configuration of the session, so they are not
    /// shortened.
    async fn live_instructions(
        &self,
        key: (&Tenant, &str),
        number: i64,
    ) -> Result<Option<String>, Error> {
        // With its messages, unless those are too large.
        let only = (number + 1, 1, MAX_TURN_BYTES);
        let turn = self.store.latest_turns(key, only).await?.pop();
        let Some(LatestTurn { size, content }) = turn.filter(|turn| turn.size.number == number)
        else {
            return Ok(None);
        };
        let Some(content) = content.filter(|_| size.bytes <= MAX_TURN_BYTES) else {
            return Err(instructions_too_long());
        };
        Ok(instructions(&decode(&content.messages)?))
    }

    /// The latest whole turns that fit.
    async fn live_history(
        &self,
        tenant: &Tenant,
        of: &StoredConversation,
        opened: Opened,
    ) -> Result<LiveHistory, Error> {
        let key = (tenant, &*of.id);
        let first = FirstRead::before((opened.last_turn + 1, opened.turns), of);
        let mut latest = self.latest(tenant, of, first).await?;
        latest.truncate(fitting(&latest, of.policy.max_input_tokens));
        let mut fitted = Fitted::default();
        'parts: for part in parts(latest).into_iter().rev() {
            let contents = match part {
                HistoryPart::Read(content) => vec![content],
                HistoryPart::Unread(first, last) => {
                    self.store.turn_contents(key, (first, last)).await?
                }
            };
            for content in contents.iter().rev() {
                let mut messages = decode(&content.messages)?;
                messages.extend(decode(&content.answer)?);
                if !fitted.add(messages) {
                    break 'parts;
                }
            }
        }
        let tokens = fitted.tokens();
        Ok(LiveHistory {
            instructions: None,
            used: HistoryUsed {
                turn: opened.last_turn,
                turns_sent: fitted.turns,
                turns_left_out: (opened.turns - fitted.turns).max(0),
                media_left_out: fitted.media_left_out,
                estimated_input_tokens: i64::try_from(tokens).unwrap_or(i64::MAX),
            },
            messages: fitted.messages.into(),
        })
    }
}

impl LiveConversation {
    /// A turn as it is stored, in a session with this id. Its number is above `after`.
    pub fn ended(&self, session: &str, after: i64, turn: LiveTurn) -> Result<EndedTurn, Error> {
        let usage = encode_usage(turn.usage.as_ref())?;
        let answer: Vec<_> = turn.answer.into_iter().collect();
        Ok(EndedTurn {
            conversation: Arc::clone(&self.id),
            created: self.created,
            after,
            id: format!("{session}/{}", turn.position),
            model: turn.model,
            has_system: turn.messages.iter().any(|one| one.role == Role::System),
            messages: encode(&turn.messages)?,
            answered: Answered {
                message: encode(&answer)?,
                usage,
            },
            failed: match turn.end {
                LiveTurnEnd::Answered => None,
                LiveTurnEnd::Failed(reason) => Some(TurnEnd::Failed(reason)),
                LiveTurnEnd::Cancelled => Some(TurnEnd::Cancelled),
            },
            took: turn.took,
        })
    }

    /// Appends a turn once, however often it is attempted. Returns its number, or why it cannot be
    /// appended.
    pub async fn append(&self, turn: &EndedTurn) -> Result<Result<i64, Error>, Error> {
        let store = self.conversations.store();
        let appended = store.append_turn(&self.tenant, turn).await?;
        Ok(appended.map_err(|refusal| match refusal {
            Refusal::NotFound => lost(Loss::Deleted).unwrap_or_else(not_found),
            Refusal::Regressed(last_turn) => regressed(last_turn),
            Refusal::Busy(_) | Refusal::Stale(_) | Refusal::TooLong => refused(refusal),
        }))
    }
}

/// How many of the latest turns are within the limits. `turns` begins with the latest.
fn fitting(turns: &[LatestTurn], max_tokens: Option<u64>) -> usize {
    let (mut tokens, mut bytes) = (0, 0);
    let fits = |LatestTurn { size, .. }: &&LatestTurn| {
        tokens += u64::try_from(size.tokens).unwrap_or_default();
        bytes += size.bytes;
        max_tokens.is_none_or(|most| tokens <= most)
            && size.bytes <= MAX_TURN_BYTES
            && bytes <= MAX_READ_BYTES
    };
    turns.iter().take_while(fits).count()
}

/// The turns that fit, from the latest to earlier ones.
#[derive(Debug, Default)]
struct Fitted {
    messages: VecDeque<SpokenText>,
    bytes: usize,
    turns: i64,
    media_left_out: i64,
}

impl Fitted {
    /// Adds the turn before the others. Returns false if it does not fit.
    fn add(&mut self, mut messages: Vec<Turn>) -> bool {
        for message in &mut messages {
            if message.role == Role::Assistant {
                // Its text is what it says.
                message
                    .parts
                    .retain(|part| !matches!(part.body, Body::Audio(_)));
            }
        }
        let media = leave_out_media(&mut messages);
        let said: Vec<_> = messages.iter().filter_map(spoken).collect();
        let bytes: usize = said.iter().map(|one| one.text.len()).sum();
        let count = self.messages.len() + said.len();
        if self.bytes + bytes > MAX_HISTORY_BYTES || count > MAX_HISTORY_MESSAGES {
            return false;
        }
        for one in said.into_iter().rev() {
            self.messages.push_front(one);
        }
        self.bytes += bytes;
        self.turns += 1;
        self.media_left_out += media;
        true
    }

    fn tokens(&self) -> u64 {
        let turn = |one: &SpokenText| {
            let mut turn = Turn::new(Role::User);
            turn.parts.push(Part::from(Body::Text(one.text.clone())));
            estimate::input_tokens(&[turn])
        };
        self.messages.iter().map(turn).sum()
    }
}

/// What a message says, if it is one of the user or of the model.
fn spoken(message: &Turn) -> Option<SpokenText> {
    let by_user = match message.role {
        Role::User => true,
        Role::Assistant => false,
        Role::System | Role::Tool => return None,
    };
    let text = text_of(message);
    (!text.is_empty()).then_some(SpokenText { by_user, text })
}

fn instructions(messages: &[Turn]) -> Option<String> {
    let system = messages.iter().filter(|one| one.role == Role::System);
    let texts: Vec<_> = system
        .map(text_of)
        .filter(|text| !text.is_empty())
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

fn text_of(message: &Turn) -> String {
    let texts = message.parts.iter().filter_map(|part| match &part.body {
        Body::Text(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use crate::store::turn_list::TurnSize;

    use super::*;

    fn message(role: Role, text: &str) -> Turn {
        let mut message = Turn::new(role);
        message.parts.push(Part::from(Body::Text(text.to_owned())));
        message
    }

    #[test]
    fn the_latest_turns_within_the_limits_are_read() {
        let size = |(tokens, bytes)| LatestTurn {
            size: TurnSize {
                tokens,
                bytes,
                ..TurnSize::default()
            },
            content: None,
        };
        let sizes = [
            (5, 10),
            (5, MAX_TURN_BYTES),
            (5, 10),
            (1, MAX_TURN_BYTES + 1),
            (1, 1),
        ];
        let sizes = sizes.map(size);
        for (limit, count) in [(None, 3), (Some(15), 3), (Some(14), 2), (Some(4), 0)] {
            assert_eq!(fitting(&sizes, limit), count);
        }
        let large = [(); 20].map(|()| size((5, MAX_TURN_BYTES)));
        assert_eq!(fitting(&large, None), 8);
    }

    #[test]
    fn only_what_both_sides_say_is_sent() {
        let mut fitted = Fitted::default();
        let mut answer = message(Role::Assistant, "two");
        answer
            .tool_calls
            .push(crate::chat::message::ToolCall::default());
        let messages = vec![
            message(Role::System, "instructions"),
            message(Role::Tool, "result"),
            message(Role::User, "one"),
            message(Role::Assistant, ""),
            answer,
        ];
        assert!(fitted.add(messages));
        assert!(fitted.add(vec![message(Role::User, "zero")]));
        let said: Vec<_> = fitted.messages.iter().collect();
        let said: Vec<_> = said.iter().map(|one| (one.by_user, &*one.text)).collect();
        assert_eq!(said, [(true, "zero"), (true, "one"), (false, "two")]);
        assert_eq!((fitted.turns, fitted.media_left_out), (2, 0));
        assert!(fitted.tokens() > 0);
    }

    #[test]
    fn a_turn_that_does_not_fit_is_left_out_as_a_whole() {
        let half = "x".repeat(MAX_HISTORY_BYTES / 2);
        let turn = || vec![message(Role::User, &half)];
        let mut fitted = Fitted::default();
        assert!(fitted.add(turn()) && fitted.add(turn()));
        assert!(!fitted.add(vec![message(Role::User, "a")]));
        assert_eq!((fitted.turns, fitted.bytes), (2, MAX_HISTORY_BYTES));
        let mut fitted = Fitted::default();
        let many = |count| vec![message(Role::User, "a"); count];
        assert!(fitted.add(many(MAX_HISTORY_MESSAGES)));
        assert!(!fitted.add(many(1)));
    }

    #[test]
    fn instructions_are_joined() {
        let system = |text| message(Role::System, text);
        assert_eq!(instructions(&[system("")]), None);
        let all = [system("a"), message(Role::User, "b"), system("c")];
        assert_eq!(instructions(&all).as_deref(), Some("a\nc"));
    }
}
