//! What callers do with conversations besides making turns. A conversation of another caller does
//! not exist for a caller.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chat::call::Tenant;
use crate::chat::message::Turn;
use crate::chat::usage::Usage;
use crate::error::Error;
use crate::store::conversations::{Changes, ConversationRow, Properties};
use crate::store::copies::Copied;
use crate::store::turn_list::{TurnRow, TurnSize};

use super::Conversations;
use super::content::{Loaded, decode, load_media, without_media};
use super::errors::{busy, damaged, exists, not_found, too_long_to_copy, turn_not_found};
use super::turn::decode_usage;

pub use crate::store::turn_list::TurnState;

/// The bytes of messages and media after which a page of turns ends.
const PAGE_BYTES: i64 = 1 << 20;

/// The labels of a conversation.
pub type Labels = BTreeMap<String, String>;

/// A stored conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// Its model, or empty.
    pub model: String,
    /// Its labels.
    pub labels: Labels,
    /// How long it is kept after its latest turn or update.
    pub ttl: Duration,
    /// When it was created, in milliseconds since 1970.
    pub created: i64,
    /// The time of its latest turn or update.
    pub updated: i64,
    /// When it expires.
    pub expires: i64,
    /// The number of its latest turn; 0: none.
    pub last_turn: i64,
    /// The number of turns of its history.
    pub turns: i64,
    /// The request id of the turn that runs, or empty.
    pub running: String,
}

/// What a caller chooses for a conversation. `None`: the default, or unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The model.
    pub model: Option<String>,
    /// The labels.
    pub labels: Option<Labels>,
    /// The time to live; `Some(None)` is the default.
    pub ttl: Option<Option<Duration>>,
}

/// A stored turn.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTurn {
    /// Its number.
    pub number: i64,
    /// The request id of its call; empty if it was copied.
    pub request_id: String,
    /// Its state.
    pub state: TurnState,
    /// Its model.
    pub model: String,
    /// When it began, in milliseconds since 1970.
    pub created: i64,
    /// When it ended; 0: not yet.
    pub ended: i64,
    /// Its usage.
    pub usage: Option<Usage>,
    /// Its new messages.
    pub messages: Vec<Turn>,
    /// Its answer.
    pub answer: Option<Turn>,
}

/// A page of turns to read.
#[derive(Clone, Copy, Debug)]
pub struct TurnPage {
    /// The number after which it begins, or before which with `newest_first`.
    pub from: i64,
    /// Whether the latest turn is the first.
    pub newest_first: bool,
    /// The maximum number of turns.
    pub limit: i64,
    /// Whether media are read.
    pub include_media: bool,
}

impl Conversations {
    /// Creates a conversation.
    pub async fn create(&self, of: (&Tenant, &str), choices: Choices) -> Result<(), Error> {
        let properties = Properties {
            model: choices.model.unwrap_or_default(),
            labels: encode_labels(&choices.labels.unwrap_or_default())?,
            ttl: choices.ttl.flatten().unwrap_or(self.config.ttl),
        };
        match self.store.create_conversation(of, &properties).await? {
            true => Ok(()),
            false => Err(exists()),
        }
    }

    /// A conversation.
    pub async fn get(&self, of: (&Tenant, &str)) -> Result<Conversation, Error> {
        let row = self.store.conversation(of).await?;
        conversation(row.ok_or_else(not_found)?)
    }

    /// Conversations after this update and id, the latest update first.
    pub async fn list(
        &self,
        tenant: &Tenant,
        after: (i64, &str),
        limit: i64,
    ) -> Result<Vec<Conversation>, Error> {
        let rows = self.store.conversations(tenant, after, limit).await?;
        rows.into_iter().map(conversation).collect()
    }

    /// Changes a conversation.
    pub async fn update(&self, of: (&Tenant, &str), choices: Choices) -> Result<(), Error> {
        let labels = choices.labels.as_ref().map(encode_labels).transpose()?;
        let changes = Changes {
            model: choices.model,
            labels,
            ttl: choices.ttl.map(|ttl| ttl.unwrap_or(self.config.ttl)),
        };
        match self.store.update_conversation(of, &changes).await? {
            true => Ok(()),
            false => Err(not_found()),
        }
    }

    /// Deletes a conversation with all that belongs to it.
    pub async fn delete(&self, of: (&Tenant, &str)) -> Result<(), Error> {
        match self.store.delete_conversation(of).await? {
            true => Ok(()),
            false => Err(not_found()),
        }
    }

    /// A page of turns, and from where the next one begins, if there may be more.
    pub async fn turns(
        &self,
        of: (&Tenant, &str),
        page: TurnPage,
    ) -> Result<(Vec<StoredTurn>, Option<i64>), Error> {
        if self.store.conversation(of).await?.is_none() {
            return Err(not_found());
        }
        let from = (page.from, page.newest_first);
        let sizes = self.store.page_sizes(of, from, page.limit + 1).await?;
        let fitting = fitting(&sizes, page);
        let (Some(first), Some(last)) = (fitting.first(), fitting.last()) else {
            return Ok((Vec::new(), None));
        };
        let (first, last) = (first.number, last.number);
        let numbers = (first.min(last), first.max(last));
        let mut rows = self.store.turns(of, numbers).await?;
        if page.newest_first {
            rows.reverse();
        }
        let mut turns = Vec::with_capacity(rows.len());
        for row in rows {
            turns.push(self.turn(of.0, row, page.include_media).await?);
        }
        Ok((turns, (fitting.len() < sizes.len()).then_some(last)))
    }

    async fn turn(
        &self,
        tenant: &Tenant,
        row: TurnRow,
        include_media: bool,
    ) -> Result<StoredTurn, Error> {
        let mut messages = decode(&row.messages)?;
        let mut answer = decode(&row.answer)?;
        let mut loaded = Loaded::new();
        for messages in [&mut messages, &mut answer] {
            if !include_media {
                without_media(messages);
                continue;
            }
            load_media(&self.store, tenant, messages, &mut loaded).await?;
        }
        Ok(StoredTurn {
            number: row.number,
            request_id: row.request_id,
            state: row.state,
            model: row.model,
            created: row.created,
            ended: row.ended,
            usage: decode_usage(&row.usage)?,
            messages,
            answer: answer.into_iter().next(),
        })
    }

    /// Deletes a turn that does not run.
    pub async fn delete_turn(&self, of: (&Tenant, &str), number: i64) -> Result<(), Error> {
        match self.store.delete_turn(of, number).await? {
            Some(running) if running.is_empty() => Ok(()),
            Some(running) => Err(busy(running)),
            None => Err(turn_not_found()),
        }
    }

    /// Copies a conversation with its history up to this turn.
    pub async fn fork(
        &self,
        of: (&Tenant, &str),
        new_id: &str,
        last_turn: Option<i64>,
    ) -> Result<(), Error> {
        let last_turn = last_turn.unwrap_or(i64::MAX);
        match self.store.copy_conversation(of, new_id, last_turn).await? {
            Copied::Done => Ok(()),
            Copied::NotFound => Err(not_found()),
            Copied::Exists => Err(exists()),
            Copied::TooLong => Err(too_long_to_copy()),
        }
    }
}

/// The turns of a page: the first of these, until its bytes are reached.
fn fitting(sizes: &[TurnSize], page: TurnPage) -> &[TurnSize] {
    let mut bytes: i64 = 0;
    let limit = usize::try_from(page.limit).unwrap_or_default();
    let fits = |size: &&TurnSize| {
        let before = bytes;
        let media = if page.include_media {
            size.media_bytes
        } else {
            0
        };
        bytes = bytes.saturating_add(size.bytes).saturating_add(media);
        before < PAGE_BYTES
    };
    let count = sizes.iter().take(limit).take_while(fits).count();
    sizes.get(..count).unwrap_or_default()
}

fn encode_labels(labels: &Labels) -> Result<Vec<u8>, Error> {
    rmp_serde::to_vec_named(labels).map_err(damaged)
}

fn conversation(row: ConversationRow) -> Result<Conversation, Error> {
    Ok(Conversation {
        id: row.id,
        model: row.properties.model,
        labels: rmp_serde::from_slice(&row.properties.labels).map_err(damaged)?,
        ttl: row.properties.ttl,
        created: row.created,
        updated: row.updated,
        expires: row.expires,
        last_turn: row.last_turn,
        turns: row.turns,
        running: row.running,
    })
}
