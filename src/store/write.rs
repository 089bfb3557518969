//! Transactions that write.

use std::ops::{Deref, DerefMut};

use sqlx::{Any, AnyConnection, Connection as _, Transaction};
use tokio::sync::OwnedSemaphorePermit;

use super::Store;
use super::engine::Engine;

/// A transaction that writes. Dropped, it is rolled back.
#[derive(Debug)]
pub(super) struct Write<'a> {
    transaction: Transaction<'a, Any>,
    _writer: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// Begins a transaction that writes. SQLite's take their lock at once, because one that read
    /// first cannot wait for it.
    pub(super) async fn write<'a>(
        &self,
        connection: &'a mut AnyConnection,
    ) -> Result<Write<'a>, sqlx::Error> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        let writer = self.pool.writer().await;
        Ok(Write {
            transaction: connection.begin_with(begin).await?,
            _writer: writer,
        })
    }
}

impl Write<'_> {
    /// Commits it.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }

    /// Rolls it back.
    pub(super) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

impl Deref for Write<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl DerefMut for Write<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}
