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

    /// What to check if it cannot be reached.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Sqlite => "the file, its folder, its owner and the disk",
            Self::Postgres => {
                "whether the server runs, and the user, the password and the database"
            }
        }
    }
}

/// What to do if the store is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// To create the file, or to wait for a server, which may be about to start.
    Wait,
    /// To fail.
    Fail,
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
