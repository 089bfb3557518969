//! Errors of the engines, as errors of calls.

use std::io;

use crate::error::{Error, Reason};

/// What to do after an error of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing was changed, and the next attempt may succeed: a conflict with another transaction,
    /// or a server that restarts.
    Conflict,
    /// The connection broke: the statement may have been executed.
    Disconnected,
    /// No connection is free, or none can be made.
    Down,
    /// The disk or the quota is full.
    Full,
    /// The database is damaged.
    Damaged,
    /// A value cannot be stored. The database works: it is no reason to take the store for down.
    Value,
    /// What was written did not reach the disk.
    NotFlushed,
    /// Anything else.
    Other,
}

/// The kind of this error.
pub(super) fn kind(error: &sqlx::Error) -> Failure {
    use sqlx::Error as E;
    if let E::Database(database) = error {
        let code = database.code();
        return of_code(code.as_deref().unwrap_or_default());
    }
    match error {
        E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => Failure::Down,
        E::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => Failure::Down,
        E::Io(_) | E::Protocol(_) => Failure::Disconnected,
        E::Tls(_) => Failure::Down,
        E::Configuration(_)
        | E::InvalidArgument(_)
        | E::Database(_)
        | E::RowNotFound
        | E::TypeNotFound { .. }
        | E::ColumnIndexOutOfBounds { .. }
        | E::ColumnNotFound(_)
        | E::ColumnDecode { .. }
        | E::Encode(_)
        | E::Decode(_)
        | E::AnyDriverError(_)
        | E::Migrate(_)
        | E::InvalidSavePointStatement
        | E::BeginFailed
        | _ => Failure::Other,
    }
}

/// SQLSTATE of PostgreSQL has five characters; the codes of SQLite are numbers, whose lowest byte
/// is the primary code.
fn of_code(code: &str) -> Failure {
    if code.len() == 5 {
        return match code {
            "40001" | "40P01" | "55P03" => Failure::Conflict,
            "57P01" | "57P02" => Failure::Disconnected,
            "57P03" | "53300" | "25006" => Failure::Down,
            "53100" | "53200" | "53400" => Failure::Full,
            "XX001" | "XX002" => Failure::Damaged,
            _ if code.starts_with("08") => Failure::Disconnected,
            // Data exceptions, such as a character that text cannot have, and exceeded limits, such
            // as the length of a key.
            _ if code.starts_with("22") || code.starts_with("54") => Failure::Value,
            _ => Failure::Other,
        };
    }
    let code = code.parse::<u32>();
    // fsync of a file or a folder failed. PostgreSQL ends itself then.
    if matches!(code, Ok(1034 | 1290)) {
        return Failure::NotFlushed;
    }
    match code.map(|code| code & 0xff) {
        Ok(5 | 6) => Failure::Conflict,
        Ok(13) => Failure::Full,
        Ok(11 | 26) => Failure::Damaged,
        Ok(10 | 14 | 8) => Failure::Down,
        Ok(18) => Failure::Value,
        _ => Failure::Other,
    }
}

/// Whether another attempt to connect would fail as well: the user, the password or the database is
/// wrong.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("28") || code == "3D000")
        || matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::Tls(_))
}

/// Whether the statement named a table that does not exist.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    let Some(database) = error.as_database_error() else {
        return false;
    };
    database.code().as_deref() == Some("42P01") || database.message().contains("no such table")
}

/// The error of a call whose statement failed. Its text is constant: that of a database may contain
/// values.
pub(super) fn of(error: &sqlx::Error) -> Error {
    let (reason, message) = match kind(error) {
        Failure::Full => (
            Reason::StoreFull,
            "the store is full; existing data can be read and deleted",
        ),
        Failure::Damaged => (
            Reason::StoreDamaged,
            "the store is damaged; restore it from a backup",
        ),
        Failure::Value => (
            Reason::InvalidRequest,
            "the store does not accept a value of the request",
        ),
        Failure::NotFlushed => (
            Reason::StoreDown,
            "the store cannot write to its disk; the gateway stops",
        ),
        Failure::Conflict | Failure::Disconnected | Failure::Down | Failure::Other => (
            Reason::StoreDown,
            "the store of the gateway does not answer",
        ),
    };
    Error::new(reason, message).with_source(cause(error))
}

/// What the log shows of it: the code, or the kind of the error.
fn cause(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(database) => format!(
            "{}: {}",
            database.code().unwrap_or_default(),
            database.message()
        ),
        None => error.to_string(),
    }
}
