//! Keys of callers, in a file of the test.

use std::path::{Path, PathBuf};

use dashgate::callers::key_file::Entry;
use dashgate::callers::limits::Overrides;
use dashgate::callers::{api_key, date, edit};
use dashgate::config;

use super::{Upstream, settings};

/// A folder of its own that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let name = format!("callers-{}", api_key::generate().unwrap().id);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn keys(&self) -> PathBuf {
        self.path("keys.toml")
    }

    /// Makes a key in the file, and returns its id and all of it.
    pub fn key(&self, name: &str, change: impl FnOnce(&mut Entry)) -> (String, String) {
        let fresh = api_key::generate().unwrap();
        let mut entry = Entry {
            id: fresh.id.clone(),
            name: name.into(),
            digest: fresh.digest,
            created: Some(date::now()),
            expires: None,
            revoked: None,
            limits: Overrides::default(),
        };
        change(&mut entry);
        edit::add(&self.keys(), &entry, || Ok::<_, dashgate::error::Error>(())).unwrap();
        (fresh.id, fresh.text.expose().to_owned())
    }

    pub fn settings(&self, upstream: &Upstream) -> config::Settings {
        let mut settings = settings(upstream);
        settings.callers.keys_file = Some(self.keys());
        settings
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
