//! SQL text for both engines. They differ in types and in how they read their clock; everything
//! else is the same text.

use super::engine::Engine;

/// A statement, in the SQL of each engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    /// For SQLite.
    pub(super) sqlite: &'static str,
    /// For PostgreSQL.
    pub(super) postgres: &'static str,
}

impl Statement {
    /// The text for this engine.
    pub(super) fn text(self, engine: Engine) -> &'static str {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }
}

/// Joins pieces of SQL. `now` is the clock of the store, in milliseconds since 1970: leases and
/// expiries are compared with it alone, so that the clocks of replicas may differ. `lock` locks the
/// selected rows until the end of the transaction; transactions of SQLite are exclusive already.
/// `("a" | "b")` is text for SQLite alone and for PostgreSQL alone.
macro_rules! statement {
    ($($piece:tt)+) => {
        $crate::store::statement::Statement {
            sqlite: concat!($($crate::store::statement::sqlite!($piece)),+),
            postgres: concat!($($crate::store::statement::postgres!($piece)),+),
        }
    };
}

macro_rules! sqlite {
    (now) => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
    (lock) => {
        ""
    };
    (($sqlite:literal | $postgres:literal)) => {
        $sqlite
    };
    ($text:literal) => {
        $text
    };
}

macro_rules! postgres {
    (now) => {
        "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
    (lock) => {
        " FOR UPDATE"
    };
    (($sqlite:literal | $postgres:literal)) => {
        $postgres
    };
    ($text:literal) => {
        $text
    };
}

pub(super) use {postgres, sqlite, statement};
