//! The settings of a running process: their sources, and how they change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use super::all_settings;
use super::environment::{Environment, NotUnicode};
use super::error::{ConfigError, ConfigErrors, Origin};
use super::layers::{Flags, RawSettings};
use super::reference;
use super::setting::Change;
use super::settings::{Endpoint, Settings};
use super::validate;

/// For each file a hash of its text, or why it cannot be read. Never the text, which may be a key.
type FileHashes = BTreeMap<PathBuf, Result<u64, io::ErrorKind>>;

/// The sources of the settings, and their last known state.
pub struct Source {
    flags: Flags,
    environment: Box<dyn Environment + Send + Sync>,
    /// The values at the start: settings that need a restart keep them.
    initial: Option<RawSettings>,
    /// Whether the applied settings use DashScope, not the emulator.
    remote: bool,
    read: FileHashes,
    /// The state at the last check, if it differs from what was read.
    next: Option<FileHashes>,
    hasher: RandomState,
}

/// Settings that can be applied.
#[derive(Debug)]
pub struct Loaded {
    /// The settings. Those that need a restart are as at the start.
    pub settings: Settings,
    /// Keys whose new values need a restart.
    pub pending_restart: Vec<&'static str>,
}

impl Source {
    /// Settings from these flags and this environment. Nothing is read yet.
    pub fn new(flags: Flags, environment: impl Environment + Send + Sync + 'static) -> Self {
        Self {
            flags,
            environment: Box::new(environment),
            initial: None,
            remote: false,
            read: FileHashes::new(),
            next: None,
            hasher: RandomState::new(),
        }
    }

    /// Reads and validates everything. On errors, the applied settings remain.
    pub fn load(&mut self) -> Result<Loaded, ConfigErrors> {
        let recorder = RecordingEnvironment {
            environment: &*self.environment,
            hasher: &self.hasher,
            hashes: RefCell::default(),
        };
        let loaded = load(&self.flags, &recorder, &mut self.initial, self.remote);
        if let Ok(loaded) = &loaded {
            self.remote = is_remote(&loaded.settings);
        }
        // A state with errors is known too: it is reported once, and again only when it changes.
        self.read = recorder.hashes.into_inner();
        self.next = None;
        loaded
    }

    /// Whether a file has changed since it was read. A change counts when two consecutive checks
    /// see the same state, so that a file is not read while it is being written.
    pub fn has_changed(&mut self) -> bool {
        let recorder = RecordingEnvironment {
            environment: &*self.environment,
            hasher: &self.hasher,
            hashes: RefCell::default(),
        };
        for path in self.read.keys() {
            // Only the hash matters here.
            let _ = recorder.file(path);
        }
        let now = recorder.hashes.into_inner();
        if now == self.read {
            self.next = None;
            return false;
        }
        if self.next.as_ref() == Some(&now) {
            return true;
        }
        self.next = Some(now);
        false
    }
}

fn load(
    flags: &Flags,
    environment: &dyn Environment,
    initial: &mut Option<RawSettings>,
    was_remote: bool,
) -> Result<Loaded, ConfigErrors> {
    let mut raw = RawSettings::gather(flags, environment);
    if let Some(initial) = initial {
        refuse_emptied_file(&mut raw, initial);
    }
    let settings = ready(&raw, environment)?;
    if was_remote && !is_remote(&settings) && raw.configured("upstream.url").is_none() {
        return Err(ConfigErrors(vec![removed_key()]));
    }
    let pending_restart = match initial {
        Some(initial) => pending_restart(&raw, initial),
        None => Vec::new(),
    };
    let settings = match initial {
        Some(initial) if !pending_restart.is_empty() => {
            for key in &pending_restart {
                raw.keep(key, initial);
            }
            ready(&raw, environment)?
        }
        Some(_) => settings,
        None => {
            *initial = Some(raw);
            settings
        }
    };
    Ok(Loaded {
        settings,
        pending_restart,
    })
}

/// Refuses a file that lost all its settings at run time: it was truncated, and the defaults would
/// send calls to another host.
fn refuse_emptied_file(raw: &mut RawSettings, initial: &RawSettings) {
    if initial.empty_file.is_some() {
        return;
    }
    if let Some(path) = raw.empty_file.clone() {
        raw.errors.push(ConfigError {
            key: "config".to_owned(),
            origin: Origin::File(path),
            problem: "the file has become empty".to_owned(),
            fix: "restore it, or restart to use the defaults".to_owned(),
        });
    }
}

fn is_remote(settings: &Settings) -> bool {
    let upstream = &settings.upstream;
    !upstream.accounts.is_empty() || upstream.endpoint != Endpoint::Embedded
}

/// The error for a key that was removed at run time. At the start, no key means the emulator;
/// later, it would answer real calls with made-up text.
fn removed_key() -> ConfigError {
    ConfigError {
        key: "upstream.api_key".to_owned(),
        origin: Origin::Default,
        problem: "the key is no longer set".to_owned(),
        fix: "set it, or set upstream.url = \"embedded\" to use the emulator".to_owned(),
    }
}

fn pending_restart(raw: &RawSettings, initial: &RawSettings) -> Vec<&'static str> {
    let fixed = all_settings::ALL
        .iter()
        .filter(|setting| setting.change() == Change::Restart);
    fixed
        .filter(|setting| raw.value(setting).text != initial.value(setting).text)
        .map(|setting| setting.key)
        .collect()
}

/// Validates the configured values.
pub(crate) fn ready(
    raw: &RawSettings,
    environment: &dyn Environment,
) -> Result<Settings, ConfigErrors> {
    let mut settings = validate::settings(raw, environment)?;
    settings.effective = reference::listing(raw, &settings, environment);
    Ok(settings)
}

/// An environment that records which files are read.
struct RecordingEnvironment<'a> {
    environment: &'a dyn Environment,
    hasher: &'a RandomState,
    hashes: RefCell<FileHashes>,
}

impl Environment for RecordingEnvironment<'_> {
    fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
        self.environment.variable(name)
    }

    fn names(&self) -> Vec<String> {
        self.environment.names()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = self.environment.file(path);
        let print = match &text {
            Ok(text) => Ok(self.hasher.hash_one(text)),
            Err(error) => Err(error.kind()),
        };
        self.hashes.borrow_mut().insert(path.to_owned(), print);
        text
    }

    fn system(&self, path: &Path) -> io::Result<String> {
        self.environment.system(path)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::environment::fake::FakeEnvironment;

    #[derive(Clone, Default)]
    struct SharedEnvironment(Arc<Mutex<FakeEnvironment>>);

    impl SharedEnvironment {
        fn write(&self, path: &str, text: &str) {
            let mut fake = self.0.lock().unwrap();
            *fake = std::mem::take(&mut *fake).file(path, text);
        }
    }

    impl Environment for SharedEnvironment {
        fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
            Environment::variable(&*self.0.lock().unwrap(), name)
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            Environment::file(&*self.0.lock().unwrap(), path)
        }
    }

    fn source(environment: &SharedEnvironment) -> Source {
        let flags = Flags {
            config: Some("d.toml".into()),
            ..Flags::default()
        };
        Source::new(flags, environment.clone())
    }

    #[test]
    fn settings_that_need_a_restart_are_kept_and_reported() {
        let environment = SharedEnvironment::default();
        let file = |attempts: u32, port: u32| {
            let text = format!(
                "[server]\nlisten = \"127.0.0.1:{port}\"\n[retry]\nmax_attempts = {attempts}\n"
            );
            environment.write("d.toml", &text);
        };
        file(3, 1);
        let mut source = source(&environment);
        assert!(source.load().unwrap().pending_restart.is_empty());
        for (attempts, port, pending_restart) in [(4, 2, 1), (5, 1, 0)] {
            file(attempts, port);
            let loaded = source.load().unwrap();
            let expected = &["server.listen"][..pending_restart];
            assert_eq!(loaded.pending_restart, expected);
            assert_eq!(loaded.settings.retry.max_attempts, attempts);
            let listen = loaded.settings.server.listen.to_string();
            assert_eq!(listen, "127.0.0.1:1");
            let shown = loaded.settings.effective;
            assert!(shown.contains("server.listen = 127.0.0.1:1  # file d.toml"));
        }
    }

    #[test]
    fn an_emptied_file_is_refused_unless_it_was_empty_at_the_start() {
        const SETTINGS: &str = "[upstream]\nurl = \"http://127.0.0.1:1\"\napi_key = \"sk-1\"\n";
        for emptied in ["", " \n\n", "# nothing\n", "[upstream]\n"] {
            let environment = SharedEnvironment::default();
            environment.write("d.toml", SETTINGS);
            let mut source = source(&environment);
            source.load().unwrap();
            environment.write("d.toml", emptied);
            let errors = source.load().unwrap_err().to_string();
            assert!(
                errors.contains("config (file d.toml): the file has become empty"),
                "{errors}"
            );
            environment.write("d.toml", SETTINGS);
            assert!(source.load().is_ok());
        }
        let environment = SharedEnvironment::default();
        environment.write("d.toml", "# later\n");
        let mut source = source(&environment);
        source.load().unwrap();
        environment.write("d.toml", "");
        assert!(source.load().is_ok());
    }

    #[test]
    fn a_removed_key_does_not_select_the_emulator() {
        let home = "/users/a/.dashscope/api_key";
        let environment = SharedEnvironment::default();
        environment.write(home, "sk-canary");
        environment.write("d.toml", "[retry]\nmax_attempts = 2\n");
        let fake = std::mem::take(&mut *environment.0.lock().unwrap());
        *environment.0.lock().unwrap() = fake.variable("HOME", "/users/a");
        let mut source = source(&environment);
        source.load().unwrap();
        let fake = std::mem::take(&mut *environment.0.lock().unwrap());
        *environment.0.lock().unwrap() = fake.variable("HOME", "/users/b");
        let errors = source.load().unwrap_err().to_string();
        assert!(errors.contains("the key is no longer set"), "{errors}");
        environment.write("d.toml", "[upstream]\nurl = \"embedded\"\n");
        assert!(source.load().is_ok(), "said so");
    }

    #[test]
    fn every_file_read_is_checked_and_a_change_counts_once_it_is_stable() {
        let environment = SharedEnvironment::default();
        environment.write("d.toml", "[upstream]\naccounts_file = \"a.toml\"\n");
        let accounts = "[[account]]\nname = \"a\"\napi_key_file = \"key\"\n";
        environment.write("a.toml", accounts);
        environment.write("key", "sk-canary-1");
        let mut source = source(&environment);
        source.load().unwrap();
        assert!(!source.has_changed() && !source.has_changed());
        let more = format!("{accounts}weight = 2\n");
        let config = "[upstream]\naccounts_file = \"a.toml\"\n# another\n";
        for (path, text) in [
            ("key", "sk-canary-2"),
            ("a.toml", &more),
            ("d.toml", config),
        ] {
            environment.write(path, "half");
            assert!(!source.has_changed(), "{path}");
            environment.write(path, text);
            assert!(!source.has_changed(), "{path}");
            assert!(source.has_changed(), "{path}");
            source.load().unwrap();
            assert!(!source.has_changed(), "{path}");
        }
        environment.write("a.toml", "[[account]]\n");
        assert!(source.load().is_err());
        // Errors are reported once, and the values of the start are kept.
        assert!(!source.has_changed());
    }
}
