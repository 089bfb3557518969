//! What an operator wants to know of a store.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::{Store, migrations};

const SIZE: Statement = Statement {
    sqlite: "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    postgres: "SELECT pg_database_size(current_database())",
};

const COUNT: Statement = statement!(
    "SELECT
       CAST(coalesce(sum(CASE WHEN state = 0 AND lease_until >= " now " THEN 1 ELSE 0 END), 0)
         AS BIGINT),
       CAST(coalesce(sum(CASE WHEN state IN (1, 2) AND expires >= " now " THEN 1 ELSE 0 END), 0)
         AS BIGINT),
       count(*)
     FROM calls"
);

/// What an operator wants to know of a store.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The version of the schema, 0 if there is none.
    pub version: i64,
    /// Why this version of the gateway cannot use the schema.
    pub unusable: Option<Error>,
    /// The duration of one round trip.
    pub latency: Duration,
    /// The size of the database in bytes, with space that can be reused.
    pub bytes: i64,
    /// The numbers of calls, by state.
    pub calls: Vec<(&'static str, i64)>,
}

impl Store {
    /// Measures and counts. It reads a whole table, and changes nothing.
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        // The first one may have to connect.
        self.ping().await?;
        let begun = Instant::now();
        self.ping().await?;
        let latency = begun.elapsed();
        let version = self.version().await?;
        let bytes = repeat!(self, "size", connection, {
            let text = SIZE.text(self.engine);
            sqlx::query_scalar(text).fetch_one(&mut *connection).await
        })?;
        let calls = match version {
            0 => Vec::new(),
            _ => self.count_calls().await?,
        };
        Ok(Inspection {
            version,
            unusable: migrations::check(version).err(),
            latency,
            bytes,
            calls,
        })
    }

    async fn count_calls(&self) -> Result<Vec<(&'static str, i64)>, Error> {
        let (running, kept, all) = repeat!(self, "count", connection, {
            sqlx::query_as::<_, (i64, i64, i64)>(COUNT.text(self.engine))
                .fetch_one(&mut *connection)
                .await
        })?;
        let expired = all - running - kept;
        Ok(vec![
            ("running", running),
            ("kept", kept),
            ("expired", expired),
        ])
    }
}
