//! How to reach the store.

use std::time::Duration;

use crate::secret::Secret;

use super::environment::Environment;
use super::error::ConfigErrors;
use super::layers::{Flags, RawSettings};
use super::setting_reader::SettingReader;
use super::value::{self, ValueError};

/// The settings of the store.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct StoreSettings {
    pub url: Secret,
    pub max_connections: u32,
    pub migrate: bool,
    pub lease: Duration,
    pub conversation_ttl: Duration,
    pub max_turn_media: usize,
    pub when_down: LimitsWhenDown,
}

/// What applies to calls that have limits while the store is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitsWhenDown {
    /// This replica's part of each limit.
    #[default]
    Share,
    /// The whole limits.
    Open,
    /// The calls are refused.
    Closed,
}

/// Reads only this section, so that a store can be checked and migrated while other settings are
/// invalid.
pub fn load_store(
    flags: &Flags,
    environment: &dyn Environment,
) -> Result<Option<StoreSettings>, ConfigErrors> {
    let mut raw = RawSettings::gather(flags, environment);
    raw.errors
        .retain(|error| error.key == "config" || error.key.starts_with("store."));
    let mut reader = SettingReader::new(&raw);
    let store = store(&mut reader);
    reader.finish(store)
}

/// Reads the section; `None` without a URL.
pub(crate) fn store(reader: &mut SettingReader<'_>) -> Option<StoreSettings> {
    let url = reader.read("store.url", url);
    let (max_connections, migrate, lease) = (
        reader.count("store.max_connections"),
        reader.read("store.migrate", value::switch),
        reader.duration("store.lease"),
    );
    let conversation_ttl = reader.duration("store.conversation_ttl");
    let max_turn_media = reader.size("store.max_turn_media");
    let when_down = reader.read("store.when_down", |text| {
        Ok(match text {
            "open" => LimitsWhenDown::Open,
            "closed" => LimitsWhenDown::Closed,
            _ => LimitsWhenDown::Share,
        })
    });
    url.map(|url| StoreSettings {
        url,
        max_connections,
        migrate,
        lease,
        conversation_ttl,
        max_turn_media,
        when_down,
    })
}

/// The URL of a store. Never quoted: it may contain a password.
fn url(text: &str) -> Result<Option<Secret>, ValueError> {
    let fix = "write sqlite:FILE, or postgres://USER:PASSWORD@HOST/DATABASE";
    let wrong = |what| Err(ValueError::new(what, fix));
    match text.split_once(':') {
        _ if text.is_empty() => Ok(None),
        Some(("sqlite", "" | "//")) => wrong("it names no file"),
        Some(("sqlite", path)) if path.contains(['?', '#']) => wrong("it has parameters"),
        Some(("sqlite", path)) if path.contains(":memory:") => wrong("it names no file"),
        Some(("sqlite", _)) => Ok(Some(Secret::new(text))),
        Some(("postgres" | "postgresql", _)) if url::Url::parse(text).is_ok() => {
            Ok(Some(Secret::new(text)))
        }
        _ => wrong("it is not the URL of a store"),
    }
}
