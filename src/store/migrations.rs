//! The schema of the store, and its versions.
//!
//! A version of the gateway accepts its own schema and the next one, so that replicas of two
//! versions can run side by side: a migration only adds, and what it replaces is dropped one
//! version later.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::error::{Error, Reason};

use super::engine::Engine;
use super::failure::{self, Failure};
use super::pool::Pool;

/// The newest schema that this version creates.
pub const LATEST: i64 = STEPS.len() as i64;

/// How often a change of the schema is repeated.
const ATTEMPTS: u32 = 5;

/// The pause before.
const PAUSE: Duration = Duration::from_millis(200);

/// One step of the schema.
struct Step {
    name: &'static str,
    /// For SQLite, and for PostgreSQL.
    up: (&'static str, &'static str),
    down: &'static str,
}

/// All steps. A step never changes once it was released.
const STEPS: &[Step] = &[
    Step {
        name: "calls",
        up: (
            include_str!("migrations/0001_calls.up.sqlite.sql"),
            include_str!("migrations/0001_calls.up.postgres.sql"),
        ),
        down: include_str!("migrations/0001_calls.down.sql"),
    },
    Step {
        name: "conversations",
        up: (
            include_str!("migrations/0002_conversations.up.sqlite.sql"),
            include_str!("migrations/0002_conversations.up.postgres.sql"),
        ),
        down: include_str!("migrations/0002_conversations.down.sql"),
    },
    Step {
        name: "quotas",
        up: (
            include_str!("migrations/0003_quotas.up.sqlite.sql"),
            include_str!("migrations/0003_quotas.up.postgres.sql"),
        ),
        down: include_str!("migrations/0003_quotas.down.sql"),
    },
    Step {
        name: "fences",
        up: (
            include_str!("migrations/0004_fences.up.sqlite.sql"),
            include_str!("migrations/0004_fences.up.postgres.sql"),
        ),
        down: include_str!("migrations/0004_fences.down.sql"),
    },
    Step {
        name: "uploads",
        up: (
            include_str!("migrations/0005_uploads.up.sqlite.sql"),
            include_str!("migrations/0005_uploads.up.postgres.sql"),
        ),
        down: include_str!("migrations/0005_uploads.down.sql"),
    },
    Step {
        name: "followers",
        up: (
            include_str!("migrations/0006_followers.up.sql"),
            include_str!("migrations/0006_followers.up.sql"),
        ),
        down: include_str!("migrations/0006_followers.down.sql"),
    },
];

fn migrator(engine: Engine) -> Migrator {
    let mut migrations = Vec::new();
    for (version, step) in (1..).zip(STEPS) {
        let up = match engine {
            Engine::Sqlite => step.up.0,
            Engine::Postgres => step.up.1,
        };
        for (kind, text) in [
            (MigrationType::ReversibleUp, up),
            (MigrationType::ReversibleDown, step.down),
        ] {
            let text = sqlx::SqlSafeStr::into_sql_str(text);
            migrations.push(Migration::new(version, step.name.into(), kind, text, false));
        }
    }
    let mut migrator = Migrator::with_migrations(migrations);
    // The next version of the gateway may have added one.
    migrator.set_ignore_missing(true);
    migrator
}

/// Brings the schema to this version, forward or back.
pub(super) async fn migrate(pool: &Pool, engine: Engine, to: i64) -> Result<(), Error> {
    let migrator = migrator(engine);
    let mut attempts = 0..ATTEMPTS;
    loop {
        let now = version(pool).await?;
        if to == now {
            return Ok(());
        }
        // Closed afterwards: with PostgreSQL it holds a lock until then.
        let alone = pool.alone();
        let done = match to < now {
            true => migrator.undo(&alone, to).await,
            false => migrator.run_to(to, &alone).await,
        };
        alone.close().await;
        match done {
            Ok(()) => return Ok(()),
            Err(error) if is_not_flushed(&error) => return Err(not_flushed()),
            // SQLite has no lock for it: another process may be changing it now.
            Err(_) if attempts.next().is_some() => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                let message = format!(
                    "the schema of the store cannot be changed: {error}; store.url must name a \
                     database of its own, whose user may create tables"
                );
                return Err(Error::new(Reason::GatewayConfig, message));
            }
        }
    }
}

/// Whether a change did not reach the disk. The next attempt would be no proof that it did.
fn is_not_flushed(error: &MigrateError) -> bool {
    matches!(
        error,
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if failure::kind(error) == Failure::NotFlushed
    )
}

fn not_flushed() -> Error {
    let message = "store.url: the disk did not take the change of the schema (fsync failed); check \
                   the disk, then start again: the store needs no repair";
    Error::new(Reason::StoreDown, message)
}

/// Refuses a change to this version that this version of the gateway cannot make, or that deletes
/// more than one step.
pub fn check_target(now: i64, to: i64) -> Result<(), Error> {
    let what = match to {
        _ if now > LATEST => format!(
            "the schema is version {now}, and this gateway knows the versions up to {LATEST}; use \
             a newer `dashgate store migrate`"
        ),
        _ if !(0..=LATEST).contains(&to) => {
            format!("this gateway knows the versions 0 to {LATEST} of the schema, and not {to}")
        }
        _ if to < now - 1 => format!(
            "the schema is version {now}; go back one version at a time, because each step deletes \
             what only the newer version has: `--to {}`",
            now - 1
        ),
        _ => return Ok(()),
    };
    Err(Error::new(Reason::GatewayConfig, what))
}

/// The version of the schema, 0 if there is none.
pub(super) async fn version(pool: &Pool) -> Result<i64, Error> {
    match read_version(pool).await {
        Ok(version) => Ok(version),
        Err(error) if failure::is_missing_table(&error) => Ok(0),
        Err(error) => Err(failure::of(&error)),
    }
}

async fn read_version(pool: &Pool) -> Result<i64, sqlx::Error> {
    let text = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";
    let mut leased = pool.acquire().await?;
    let version = sqlx::query_scalar::<_, i64>(text).fetch_one(leased.connection()?);
    let version = version.await?;
    leased.succeeded();
    Ok(version)
}

/// Refuses a schema that this version of the gateway cannot use.
pub(super) fn check(version: i64) -> Result<(), Error> {
    let what = match version {
        LATEST => return Ok(()),
        _ if version == LATEST + 1 => return Ok(()),
        0 => "the store has no tables yet; run `dashgate store migrate`".to_owned(),
        _ if version < LATEST => format!(
            "the schema of the store is version {version}, and this gateway needs {LATEST}; run \
             `dashgate store migrate`"
        ),
        _ => format!(
            "the schema of the store is version {version}, and this gateway knows {LATEST}; run a \
             newer version of the gateway, or `dashgate store migrate --to {LATEST}` with it"
        ),
    };
    Err(Error::new(Reason::GatewayConfig, what))
}
