//! The engines, and how to reach a store.

use std::time::Duration;

use crate::secret::Secret;

/// The kind of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file on this machine.
    Sqlite,
    /// A server, which replicas share.
    Postgres,
}

impl Engine {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// How to reach the store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:FILE` or `postgres://...`.
    pub url: Secret,
    /// The maximum number of connections.
    pub max_connections: u32,
    /// Whether to create and update the tables at the start.
    pub migrate: bool,
    /// How long a replica owns a call without renewing its lease.
    pub lease: Duration,
}
