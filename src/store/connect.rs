//! Connections to the database.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use crate::error::{Error, Reason};

use super::engine::{Engine, StoreConfig};

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

/// Opens the pool, with one connection.
pub(super) async fn connect(config: &StoreConfig) -> Result<(AnyPool, Engine), Error> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    let url = config.url.expose();
    let engine = engine(url)?;
    let url = match engine {
        Engine::Postgres => url.to_owned(),
        Engine::Sqlite => {
            let path = create_file(url)?.replace('%', "%25");
            format!("sqlite:{path}?mode=rw")
        }
    };
    let options = AnyPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(WAIT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let pragmas = match engine {
                    Engine::Sqlite => SQLITE_PRAGMAS,
                    Engine::Postgres => &[],
                };
                for pragma in pragmas {
                    sqlx::query(*pragma).execute(&mut *connection).await?;
                }
                Ok(())
            })
        });
    let pool = options.connect_lazy(&url).map_err(|error| {
        let message = "store.url is not valid; write `postgres://USER@HOST/DATABASE`";
        Error::new(Reason::GatewayConfig, message).with_source(error)
    })?;
    first_connection(&pool, engine).await?;
    Ok((pool, engine))
}

/// Connects once, and waits for a server that is about to start.
async fn first_connection(pool: &AnyPool, engine: Engine) -> Result<(), Error> {
    let until = tokio::time::Instant::now() + FIRST_CONNECTION;
    loop {
        let error = match pool.acquire().await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if tokio::time::Instant::now() >= until {
            let message = format!(
                "cannot connect to {} at store.url: {error}; check that it runs and that the user \
                 and the database exist",
                engine.name()
            );
            return Err(Error::new(Reason::GatewayConfig, message));
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// Creates the file of a SQLite store, readable by its owner only. Returns its path.
fn create_file(url: &str) -> Result<&str, Error> {
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
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(Path::new(path));
    file.map_err(|error| fault(&format!("{path} cannot be opened: {error}")))?;
    Ok(path)
}
