//! Stores of tests.

use std::path::PathBuf;
use std::time::Duration;

use dashgate::config::{LimitsWhenDown, StoreSettings};
use dashgate::secret::Secret;

/// The settings of a store at this URL.
pub fn settings(url: &str) -> StoreSettings {
    StoreSettings {
        url: Secret::new(url),
        max_connections: 10,
        migrate: true,
        lease: Duration::from_secs(15),
        conversation_ttl: Duration::from_secs(3600),
        max_turn_media: 1 << 20,
        when_down: LimitsWhenDown::Share,
    }
}

/// A folder of one test, which is removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The URL of a SQLite store in it.
    pub fn sqlite(&self) -> String {
        format!("sqlite:{}", self.0.join("state.db").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
