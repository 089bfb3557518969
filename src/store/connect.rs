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
const WAIT: Duration = Duration::from_millis(250);

/// How long the first connection may take.
const FIRST_CONNECTION: Duration = Duration::from_secs(10);

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

/// Opens the pool, after one connection has succeeded.
pub(super) async fn connect(
    config: &StoreConfig,
    absent: Absent,
) -> Result<(AnyPool, Engine), Error> {
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
    let pool = AnyPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(WAIT)
        .after_connect(move |connection, _| Box::pin(prepare(connection, engine)))
        .after_release(move |connection, _| Box::pin(is_reusable(connection, engine)))
        .connect_lazy_with(options);
    Ok((pool, engine))
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

/// Whether a released connection can be used again. SQLite has ended a transaction whose commit
/// failed, because the disk was full for example, but its driver takes it for a running one, in
/// which whatever comes next would be executed.
async fn is_reusable(connection: &mut AnyConnection, engine: Engine) -> Result<bool, sqlx::Error> {
    if engine == Engine::Sqlite {
        // The driver may not have executed a rollback yet.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
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
            let mut connection = AnyConnection::connect_with(options).await?;
            prepare(&mut connection, engine).await?;
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
