//! Connections to the database.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection as _};
use tokio::time::Instant;

use crate::error::{Error, Reason};

use super::engine::{Absent, Engine, StoreConfig};
use super::failure::{self, Failure};

/// How long a call waits for a connection. Longer, and calls pile up behind a store that is down.
pub(super) const WAIT: Duration = Duration::from_millis(250);

/// How long the first connection may take.
pub(super) const FIRST_CONNECTION: Duration = Duration::from_secs(10);

/// Every transaction that returned is on the disk, and readers do not wait for the writer. Deleted
/// content is overwritten.
const SQLITE_PRAGMAS: &[&str] = &[
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA secure_delete = ON",
];

/// The engine of a URL.
pub(super) fn engine(url: &str) -> Result<Engine, Error> {
    match url.split_once(':') {
        Some(("sqlite", _)) => Ok(Engine::Sqlite),
        Some(("postgres" | "postgresql", _)) => Ok(Engine::Postgres),
        _ => {
            let message = "store.url must be `sqlite:FILE` or `postgres://USER@HOST/DATABASE`";
            Err(Error::new(Reason::GatewayConfig, message))
        }
    }
}

/// How to connect, after one connection has succeeded.
pub(super) async fn options(
    config: &StoreConfig,
    absent: Absent,
) -> Result<(AnyConnectOptions, Engine), Error> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    let url = config.url.expose();
    let engine = engine(url)?;
    let url = match engine {
        Engine::Postgres => url.to_owned(),
        Engine::Sqlite => {
            let path = file(url, absent)?.replace('%', "%25");
            format!("sqlite:{path}?mode=rw")
        }
    };
    let options = AnyConnectOptions::from_str(&url).map_err(|error| {
        let message = "store.url is not valid; write `postgres://USER@HOST/DATABASE`";
        Error::new(Reason::GatewayConfig, message).with_source(error)
    })?;
    first_connection(&options, engine, absent).await?;
    Ok((options, engine))
}

/// A new connection.
pub(super) async fn open(
    options: &AnyConnectOptions,
    engine: Engine,
) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect_with(options).await?;
    prepare(&mut connection, engine).await?;
    Ok(connection)
}

/// A pool of one connection.
pub(super) fn alone(options: AnyConnectOptions, engine: Engine) -> AnyPool {
    AnyPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(WAIT)
        .after_connect(move |connection, _| Box::pin(prepare(connection, engine)))
        .connect_lazy_with(options)
}

/// Prepares a new connection.
async fn prepare(connection: &mut AnyConnection, engine: Engine) -> Result<(), sqlx::Error> {
    let pragmas = match engine {
        Engine::Sqlite => SQLITE_PRAGMAS,
        Engine::Postgres => &[],
    };
    for pragma in pragmas {
        sqlx::query(*pragma).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Connects once, and waits for a server that is about to start. Without the pool, which does not
/// report why it cannot connect.
async fn first_connection(
    options: &AnyConnectOptions,
    engine: Engine,
    absent: Absent,
) -> Result<(), Error> {
    let until = Instant::now() + FIRST_CONNECTION;
    loop {
        let attempt = async {
            let connection = open(options, engine).await?;
            connection.close().await
        };
        let left = until.saturating_duration_since(Instant::now());
        let error = match tokio::time::timeout(left, attempt).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::Io(io::ErrorKind::TimedOut.into()),
        };
        if failure::kind(&error) == Failure::Damaged {
            return Err(failure::of(&error));
        }
        let hopeless = absent == Absent::Fail
            || failure::is_refusal(&error)
            || failure::kind(&error) == Failure::NotFlushed;
        // An attempt without time would fail with an error that says nothing.
        if hopeless || Instant::now() + WAIT >= until {
            let name = engine.name();
            let advice = engine.advice();
            let message = format!("cannot connect to {name}: {error}; check store.url ({advice})");
            return Err(Error::new(Reason::StoreDown, message));
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// The path of a SQLite store. If it is created, only its owner can read it.
fn file(url: &str, absent: Absent) -> Result<&str, Error> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    let fault = |what: &str| {
        let message =
            format!("store.url: {what}; write `sqlite:FILE`, as in `sqlite:/var/lib/x.db`");
        Error::new(Reason::GatewayConfig, message)
    };
    if path.is_empty() || path.contains(":memory:") {
        return Err(fault("a store must have a file"));
    }
    if path.contains('?') || path.contains('#') {
        return Err(fault("parameters are not supported"));
    }
    let file = OpenOptions::new()
        .write(true)
        .create(absent == Absent::Wait)
        .truncate(false)
        .mode(0o600)
        .open(Path::new(path));
    file.map_err(|error| fault(&format!("{path} cannot be opened: {error}")))?;
    Ok(path)
}
