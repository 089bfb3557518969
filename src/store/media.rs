//! Media of turns, by their content: each is stored once for a tenant, and deleted with the last
//! turn that refers to it.

use bytes::Bytes;
use sqlx::AnyConnection;

use crate::chat::call::Tenant;
use crate::error::Error;

use super::Store;
use super::repeat::repeat;
use super::statement::{Statement, statement};

/// The SHA-256 digest of a medium.
pub type Digest = [u8; 32];

/// The turns whose media are meant: of a conversation, with numbers in this range.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnRange<'a> {
    /// Whose they are.
    pub(super) tenant: &'a Tenant,
    /// The conversation.
    pub(super) conversation: &'a str,
    /// The first and the last number.
    pub(super) numbers: (i64, i64),
}

const REFER: Statement = statement!(
    "INSERT INTO turn_media (tenant, conversation, number, digest)
     VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
);

const ADD: Statement = statement!(
    "INSERT INTO media (tenant, digest, uses, content) VALUES ($1, $2, 1, $3)
     ON CONFLICT (tenant, digest) DO UPDATE SET uses = media.uses + 1"
);

const RELEASE: Statement = statement!(
    "UPDATE media SET uses = uses - released.count FROM (
       SELECT digest, count(*) AS count FROM turn_media WHERE tenant = $1 AND conversation = $2
         AND number BETWEEN $3 AND $4 GROUP BY digest) AS released
     WHERE media.tenant = $1 AND media.digest = released.digest"
);

const DELETE_UNUSED: Statement = statement!(
    "DELETE FROM media WHERE tenant = $1 AND uses <= 0 AND digest IN (
       SELECT digest FROM turn_media WHERE tenant = $1 AND conversation = $2
         AND number BETWEEN $3 AND $4)"
);

const DELETE_REFERENCES: Statement = statement!(
    "DELETE FROM turn_media WHERE tenant = $1 AND conversation = $2 AND number BETWEEN $3 AND $4"
);

const COPY_USES: Statement = statement!(
    "UPDATE media SET uses = uses + copied.count FROM (
       SELECT digest, count(*) AS count FROM turn_media WHERE tenant = $1 AND conversation = $2
         AND number BETWEEN $3 AND $4 GROUP BY digest) AS copied
     WHERE media.tenant = $1 AND media.digest = copied.digest"
);

const READ: Statement = statement!("SELECT content FROM media WHERE tenant = $1 AND digest = $2");

impl Store {
    /// Adds media to a turn. Sorted by digest, so that two turns lock them in the same order.
    pub(super) async fn add_media(
        &self,
        connection: &mut AnyConnection,
        (tenant, conversation, number): (&Tenant, &str, i64),
        media: &[(Digest, Bytes)],
    ) -> Result<(), sqlx::Error> {
        for (digest, content) in media {
            let referred = sqlx::query(REFER.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(conversation)
                .bind(number)
                .bind(digest.as_slice())
                .execute(&mut *connection)
                .await?;
            if referred.rows_affected() == 0 {
                continue;
            }
            sqlx::query(ADD.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(digest.as_slice())
                .bind(content.as_ref())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    /// Deletes the references of these turns, and the media without any other.
    pub(super) async fn release_media(
        &self,
        connection: &mut AnyConnection,
        turns: TurnRange<'_>,
    ) -> Result<(), sqlx::Error> {
        for statement in [RELEASE, DELETE_UNUSED, DELETE_REFERENCES] {
            self.for_turns(connection, statement, turns).await?;
        }
        Ok(())
    }

    /// Counts the references of these turns once more, for a copy of them.
    pub(super) async fn copy_media_uses(
        &self,
        connection: &mut AnyConnection,
        turns: TurnRange<'_>,
    ) -> Result<(), sqlx::Error> {
        self.for_turns(connection, COPY_USES, turns).await
    }

    /// Executes a statement whose values are those of a range of turns.
    pub(super) async fn for_turns(
        &self,
        connection: &mut AnyConnection,
        statement: Statement,
        turns: TurnRange<'_>,
    ) -> Result<(), sqlx::Error> {
        let done = sqlx::query(statement.text(self.engine))
            .bind(turns.tenant.as_bytes())
            .bind(turns.conversation)
            .bind(turns.numbers.0)
            .bind(turns.numbers.1)
            .execute(connection)
            .await;
        done.map(drop)
    }

    /// The content of a medium, if it is stored.
    pub async fn medium(&self, tenant: &Tenant, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let content = repeat!(self, "medium", connection, {
            sqlx::query_scalar::<_, Vec<u8>>(READ.text(self.engine))
                .bind(tenant.as_bytes())
                .bind(digest.as_slice())
                .fetch_optional(&mut *connection)
                .await
        })?;
        Ok(content.map(Bytes::from))
    }
}
