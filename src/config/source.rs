//! The settings of a process that keeps running: where they came from, and what they are now.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use super::environment::{NotText, Surroundings};
use super::error::{Fault, Faults, Origin};
use super::layers::{Flags, Raw};
use super::reference;
use super::setting::Change;
use super::settings::{Endpoint, Settings};
use super::table;
use super::validate;

/// What each file held: a print of its text, or why it could not be read. Never the text, which may
/// be a key.
type Prints = BTreeMap<PathBuf, Result<u64, io::ErrorKind>>;

/// Where the settings come from, and what was read there last.
pub struct Source {
    flags: Flags,
    around: Box<dyn Surroundings + Send + Sync>,
    /// What the process began with: settings that need a restart stay so.
    began: Option<Raw>,
    /// Whether calls went to a DashScope that is not the embedded one, when last applied.
    remote: bool,
    read: Prints,
    /// What was seen at the last look, if it is another than what was read.
    next: Option<Prints>,
    hasher: RandomState,
}

/// Settings that may be put in force as they are.
#[derive(Debug)]
pub struct Loaded {
    /// The settings. Those that need a restart are as they were at the start.
    pub settings: Settings,
    /// The keys that are typed otherwise now, and change with a restart only.
    pub waiting: Vec<&'static str>,
}

impl Source {
    /// The settings of these flags in this world. Nothing is read yet.
    pub fn new(flags: Flags, around: impl Surroundings + Send + Sync + 'static) -> Self {
        Self {
            flags,
            around: Box::new(around),
            began: None,
            remote: false,
            read: Prints::new(),
            next: None,
            hasher: RandomState::new(),
        }
    }

    /// Reads and checks everything. Faults leave what was there in force.
    pub fn load(&mut self) -> Result<Loaded, Faults> {
        let noting = Noting {
            around: &*self.around,
            hasher: &self.hasher,
            prints: RefCell::default(),
        };
        let loaded = load(&self.flags, &noting, &mut self.began, self.remote);
        if let Ok(loaded) = &loaded {
            self.remote = is_remote(&loaded.settings);
        }
        // What is wrong is known too: it is told once, and again only when it is changed.
        self.read = noting.prints.into_inner();
        self.next = None;
        loaded
    }

    /// Whether a file that was read holds something else now. A file is believed when two looks in
    /// a row see the same, so that one that is being written is not read half.
    pub fn has_changed(&mut self) -> bool {
        let noting = Noting {
            around: &*self.around,
            hasher: &self.hasher,
            prints: RefCell::default(),
        };
        for path in self.read.keys() {
            // Only the print of it matters here.
            let _ = noting.file(path);
        }
        let now = noting.prints.into_inner();
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
    around: &dyn Surroundings,
    began: &mut Option<Raw>,
    was_remote: bool,
) -> Result<Loaded, Faults> {
    let mut raw = Raw::gather(flags, around);
    if let Some(began) = began {
        refuse_emptied(&mut raw, began);
    }
    let settings = ready(&raw, around)?;
    if was_remote && !is_remote(&settings) && raw.typed("upstream.url").is_none() {
        return Err(Faults(vec![lost_key()]));
    }
    let waiting = match began {
        Some(began) => waiting(&raw, began),
        None => Vec::new(),
    };
    let settings = match began {
        Some(began) if !waiting.is_empty() => {
            for key in &waiting {
                raw.keep(key, began);
            }
            ready(&raw, around)?
        }
        Some(_) => settings,
        None => {
            *began = Some(raw);
            settings
        }
    };
    Ok(Loaded { settings, waiting })
}

/// A file that lost all its settings while the gateway runs was truncated, and is not believed: the
/// defaults would send calls to another host.
fn refuse_emptied(raw: &mut Raw, began: &Raw) {
    if began.empty_file.is_some() {
        return;
    }
    if let Some(path) = raw.empty_file.clone() {
        raw.faults.push(Fault {
            key: "config".to_owned(),
            origin: Origin::File(path),
            problem: "the file has become empty".to_owned(),
            mend: "restore it, or restart to use the defaults".to_owned(),
        });
    }
}

fn is_remote(settings: &Settings) -> bool {
    let upstream = &settings.upstream;
    !upstream.accounts.is_empty() || upstream.endpoint != Endpoint::Embedded
}

/// The key went away while the gateway runs. At the start that means the embedded DashScope; later
/// it would answer real calls with made-up words.
fn lost_key() -> Fault {
    Fault {
        key: "upstream.api_key".to_owned(),
        origin: Origin::Default,
        problem: "the key is no longer set".to_owned(),
        mend: "set it, or set upstream.url = \"embedded\" to use the emulator".to_owned(),
    }
}

fn waiting(raw: &Raw, began: &Raw) -> Vec<&'static str> {
    let fixed = table::ALL
        .iter()
        .filter(|setting| setting.change() == Change::Restart);
    fixed
        .filter(|setting| raw.value(setting).text != began.value(setting).text)
        .map(|setting| setting.key)
        .collect()
}

/// Checks what was gathered.
pub(crate) fn ready(raw: &Raw, around: &dyn Surroundings) -> Result<Settings, Faults> {
    let mut settings = validate::settings(raw, around)?;
    settings.effective = reference::listing(raw, &settings, around);
    Ok(settings)
}

/// A world that notes which files are read.
struct Noting<'a> {
    around: &'a dyn Surroundings,
    hasher: &'a RandomState,
    prints: RefCell<Prints>,
}

impl Surroundings for Noting<'_> {
    fn variable(&self, name: &str) -> Result<Option<String>, NotText> {
        self.around.variable(name)
    }

    fn names(&self) -> Vec<String> {
        self.around.names()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = self.around.file(path);
        let print = match &text {
            Ok(text) => Ok(self.hasher.hash_one(text)),
            Err(error) => Err(error.kind()),
        };
        self.prints.borrow_mut().insert(path.to_owned(), print);
        text
    }

    fn system(&self, path: &Path) -> io::Result<String> {
        self.around.system(path)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::environment::fake::Fake;

    #[derive(Clone, Default)]
    struct World(Arc<Mutex<Fake>>);

    impl World {
        fn write(&self, path: &str, text: &str) {
            let mut fake = self.0.lock().unwrap();
            *fake = std::mem::take(&mut *fake).file(path, text);
        }
    }

    impl Surroundings for World {
        fn variable(&self, name: &str) -> Result<Option<String>, NotText> {
            Surroundings::variable(&*self.0.lock().unwrap(), name)
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            Surroundings::file(&*self.0.lock().unwrap(), path)
        }
    }

    fn source(world: &World) -> Source {
        let flags = Flags {
            config: Some("d.toml".into()),
            ..Flags::default()
        };
        Source::new(flags, world.clone())
    }

    #[test]
    fn what_needs_a_restart_stays_and_is_named_and_the_rest_changes() {
        let world = World::default();
        let file = |attempts: u32, port: u32| {
            let text = format!(
                "[server]\nlisten = \"127.0.0.1:{port}\"\n[retry]\nmax_attempts = {attempts}\n"
            );
            world.write("d.toml", &text);
        };
        file(3, 1);
        let mut source = source(&world);
        assert!(source.load().unwrap().waiting.is_empty());
        for (attempts, port, waiting) in [(4, 2, 1), (5, 1, 0)] {
            file(attempts, port);
            let loaded = source.load().unwrap();
            let expected = &["server.listen"][..waiting];
            assert_eq!(loaded.waiting, expected);
            assert_eq!(loaded.settings.retry.max_attempts, attempts);
            let listen = loaded.settings.server.listen.to_string();
            assert_eq!(listen, "127.0.0.1:1");
            let shown = loaded.settings.effective;
            assert!(shown.contains("server.listen = 127.0.0.1:1  # file d.toml"));
        }
    }

    #[test]
    fn a_file_that_is_emptied_is_refused_unless_it_began_empty() {
        const SETTINGS: &str = "[upstream]\nurl = \"http://127.0.0.1:1\"\napi_key = \"sk-1\"\n";
        for emptied in ["", " \n\n", "# nothing\n", "[upstream]\n"] {
            let world = World::default();
            world.write("d.toml", SETTINGS);
            let mut source = source(&world);
            source.load().unwrap();
            world.write("d.toml", emptied);
            let faults = source.load().unwrap_err().to_string();
            assert!(
                faults.contains("config (file d.toml): the file has become empty"),
                "{faults}"
            );
            world.write("d.toml", SETTINGS);
            assert!(source.load().is_ok());
        }
        let world = World::default();
        world.write("d.toml", "# later\n");
        let mut source = source(&world);
        source.load().unwrap();
        world.write("d.toml", "");
        assert!(source.load().is_ok());
    }

    #[test]
    fn a_key_that_goes_away_does_not_lead_to_the_embedded_dashscope() {
        let home = "/users/a/.dashscope/api_key";
        let world = World::default();
        world.write(home, "sk-canary");
        world.write("d.toml", "[retry]\nmax_attempts = 2\n");
        let fake = std::mem::take(&mut *world.0.lock().unwrap());
        *world.0.lock().unwrap() = fake.variable("HOME", "/users/a");
        let mut source = source(&world);
        source.load().unwrap();
        let fake = std::mem::take(&mut *world.0.lock().unwrap());
        *world.0.lock().unwrap() = fake.variable("HOME", "/users/b");
        let faults = source.load().unwrap_err().to_string();
        assert!(faults.contains("the key is no longer set"), "{faults}");
        world.write("d.toml", "[upstream]\nurl = \"embedded\"\n");
        assert!(source.load().is_ok(), "said so");
    }

    #[test]
    fn every_file_that_was_read_is_looked_at_and_believed_when_it_is_still() {
        let world = World::default();
        world.write("d.toml", "[upstream]\naccounts_file = \"a.toml\"\n");
        let accounts = "[[account]]\nname = \"a\"\napi_key_file = \"key\"\n";
        world.write("a.toml", accounts);
        world.write("key", "sk-canary-1");
        let mut source = source(&world);
        source.load().unwrap();
        assert!(!source.has_changed() && !source.has_changed());
        let more = format!("{accounts}weight = 2\n");
        let config = "[upstream]\naccounts_file = \"a.toml\"\n# another\n";
        for (path, text) in [
            ("key", "sk-canary-2"),
            ("a.toml", &more),
            ("d.toml", config),
        ] {
            world.write(path, "half");
            assert!(!source.has_changed(), "{path}");
            world.write(path, text);
            assert!(!source.has_changed(), "{path}");
            assert!(source.has_changed(), "{path}");
            source.load().unwrap();
            assert!(!source.has_changed(), "{path}");
        }
        world.write("a.toml", "[[account]]\n");
        assert!(source.load().is_err());
        // What is wrong is told once, and the start of it all is not forgotten.
        assert!(!source.has_changed());
    }
}
