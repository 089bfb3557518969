//! Stored conversations: their rows. Those of another tenant are not found by the same statement as
//! those that do not exist.

use std::time::Duration;

use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::{Store, millis};

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationRow {
    /// Its id.
    pub id: String,
    /// Its properties.
    pub properties: Properties,
    /// When it was created, in milliseconds since 1970.
    pub created: i64,
    /// The time of its latest turn or update.
    pub updated: i64,
    /// When it expires.
    pub expires: i64,
    /// The number of its latest turn.
    pub last_turn: i64,
    /// The number of turns of its history.
    pub turns: i64,
    /// The request id of the turn that runs, or empty.
    pub running: String,
}

/// What the owner of a conversation chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The model, or empty.
    pub model: String,
    /// The labels, as bytes.
    pub labels: Vec<u8>,
    /// How long it is kept after its latest turn or update.
    pub ttl: Duration,
}

/// Changes of a conversation. `None`: unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The model.
    pub model: Option<String>,
    /// The labels, as bytes.
    pub labels: Option<Vec<u8>>,
    /// The time to live.
    pub ttl: Option<Duration>,
}

type Row = (
    String,
    String,
    Vec<u8>,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    String,
);

/// The columns of a row. The turn that runs does so only as long as its call does: its replica may
/// be gone.
macro_rules! select {
    ($($condition:tt)+) => {
        statement!(
            "SELECT id, model, labels, ttl, created, updated, expires, last_turn, turns,
               coalesce((SELECT c.request_id FROM calls c
                 WHERE c.tenant = conversations.tenant AND c.request_id = running
                   AND c.fence = running_fence AND c.state = 0 AND c.lease_until >= " now "), '')
             FROM conversations " $($condition)+
        )
    };
}

const CREATE: Statement = statement!(
    "INSERT INTO conversations (tenant, id, model, labels, ttl, created, updated, expires, numbered,
       last_turn, turns, system_turn, running, running_fence, running_turn)
     VALUES ($1, $2, $3, $4, $5, " now ", " now ", $5 + " now ", 0, 0, 0, 0, '', 0, 0)
     ON CONFLICT DO NOTHING"
);

/// The same, after a first execution that may have succeeded unnoticed.
const CREATE_AGAIN: Statement = statement!(
    "INSERT INTO conversations (tenant, id, model, labels, ttl, created, updated, expires, numbered,
       last_turn, turns, system_turn, running, running_fence, running_turn)
     VALUES ($1, $2, $3, $4, $5, " now ", " now ", $5 + " now ", 0, 0, 0, 0, '', 0, 0)
     ON CONFLICT (tenant, id) DO UPDATE SET numbered = 0
     WHERE conversations.numbered = 0 AND conversations.created > " now " - 10000
       AND conversations.model = excluded.model AND conversations.labels = excluded.labels
       AND conversations.ttl = excluded.ttl"
);

const GET: Statement = select!("WHERE tenant = $1 AND id = $2 AND expires > " now);

const LIST: Statement = select!(
    "WHERE tenant = $1 AND expires > " now " AND (updated < $2 OR (updated = $2 AND id < $3))
     ORDER BY updated DESC, id DESC LIMIT $4"
);

const UPDATE: Statement = statement!(
    "UPDATE conversations SET model = $3, labels = $4, ttl = $5, updated = " now ",
       expires = $5 + " now "
     WHERE tenant = $1 AND id = $2"
);

pub(super) const LOCK: Statement = statement!(
    "SELECT 1 + 0 * numbered FROM conversations WHERE tenant = $1 AND id = $2 AND expires > " now
    lock
);

impl Store {
    /// Creates a conversation. Returns false if one with this id exists.
    pub async fn create_conversation(
        &self,
        (tenant, id): (&Tenant, &str),
        properties: &Properties,
    ) -> Result<bool, Error> {
        self.delete_expired((tenant, id)).await?;
        let mut statement = CREATE;
        repeat!(self, "create_conversation", connection, {
            let create = std::mem::replace(&mut statement, CREATE_AGAIN);
            let done = sqlx::query(create.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(&*properties.model)
                .bind(properties.labels.as_slice())
                .bind(millis(properties.ttl))
                .execute(&mut *connection)
                .await?;
            Ok(done.rows_affected() == 1)
        })
    }

    /// A conversation.
    pub async fn conversation(
        &self,
        (tenant, id): (&Tenant, &str),
    ) -> Result<Option<ConversationRow>, Error> {
        let row = repeat!(self, "conversation", connection, {
            sqlx::query_as::<_, Row>(GET.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .fetch_optional(&mut *connection)
                .await
        })?;
        Ok(row.map(conversation_row))
    }

    /// Conversations of a tenant that come after this update and id, the latest update first.
    pub async fn conversations(
        &self,
        tenant: &Tenant,
        (updated, id): (i64, &str),
        limit: i64,
    ) -> Result<Vec<ConversationRow>, Error> {
        let rows = repeat!(self, "conversations", connection, {
            sqlx::query_as::<_, Row>(LIST.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(updated)
                .bind(id)
                .bind(limit)
                .fetch_all(&mut *connection)
                .await
        })?;
        Ok(rows.into_iter().map(conversation_row).collect())
    }

    /// Changes a conversation. Returns false if there is no such conversation.
    pub async fn update_conversation(
        &self,
        (tenant, id): (&Tenant, &str),
        changes: &Changes,
    ) -> Result<bool, Error> {
        repeat!(self, "update_conversation", connection, {
            let mut transaction = self.write(connection).await?;
            if !self.lock(&mut transaction, LOCK, (tenant, id)).await? {
                transaction.rollback().await?;
                return Ok(false);
            }
            let row = sqlx::query_as::<_, Row>(GET.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(row) = row.map(conversation_row) else {
                transaction.rollback().await?;
                return Ok(false);
            };
            let old = row.properties;
            let (model, labels) = (changes.model.as_ref(), changes.labels.as_ref());
            sqlx::query(UPDATE.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(id)
                .bind(model.unwrap_or(&old.model).as_str())
                .bind(labels.unwrap_or(&old.labels).as_slice())
                .bind(millis(changes.ttl.unwrap_or(old.ttl)))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    /// Locks the row of a conversation, if there is one.
    pub(super) async fn lock(
        &self,
        connection: &mut AnyConnection,
        lock: Statement,
        (tenant, id): (&Tenant, &str),
    ) -> Result<bool, sqlx::Error> {
        let row = sqlx::query_scalar::<_, i64>(lock.text(self.engine))
            .bind(tenant.as_bytes())
            .bind(id)
            .fetch_optional(connection)
            .await?;
        Ok(row.is_some())
    }
}

fn conversation_row(row: Row) -> ConversationRow {
    let (id, model, labels, ttl, created, updated, expires, last_turn, turns, running) = row;
    let ttl = Duration::from_millis(u64::try_from(ttl).unwrap_or_default());
    ConversationRow {
        id,
        properties: Properties { model, labels, ttl },
        created,
        updated,
        expires,
        last_turn,
        turns,
        running,
    }
}
