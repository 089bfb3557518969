//! The first step: all settings as they were typed, each with where it came from.
//!
//! Whatever the source, a value is kept in the one form that a variable can have, a text. So the
//! second step reads one form only, and a list in the file means what a list in a variable means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::Surroundings;
use super::error::{Fault, Origin};
use super::file;
use super::setting::{Kind, Setting};
use super::table;

/// The variable that names the file of settings when no flag does.
pub const FILE_VARIABLE: &str = "DASHGATE_CONFIG";

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The file of settings.
    pub config: Option<PathBuf>,
    /// Single settings. The last one of a key wins.
    pub set: Vec<Flag>,
    /// Defaults of the command itself, above those of the table and below all that is typed.
    pub defaults: Vec<(&'static str, &'static str)>,
}

/// A setting that was given as a flag.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as it was typed, for faults: `--listen`.
    pub name: String,
    /// The setting.
    pub key: String,
    /// The value.
    pub value: String,
}

impl Flags {
    /// Adds a setting that a flag of its own gave, if it was given.
    pub fn with(mut self, name: &str, key: &str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.set.push(Flag {
                name: name.to_owned(),
                key: key.to_owned(),
                value: value.into(),
            });
        }
        self
    }
}

/// A value as it was typed.
#[derive(Clone)]
pub(crate) struct Typed {
    /// The value in the form of a variable, without spaces around it.
    pub(crate) text: String,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// All that was typed, and what was already wrong with it.
#[derive(Default)]
pub(crate) struct Raw {
    values: BTreeMap<&'static str, Typed>,
    /// The file, if it was read and holds no setting.
    pub(crate) empty_file: Option<PathBuf>,
    /// What could not be read, or is no setting.
    pub(crate) faults: Vec<Fault>,
}

impl Raw {
    /// Reads the file, then the environment, then the flags: what comes later wins.
    pub(crate) fn gather(flags: &Flags, around: &dyn Surroundings) -> Self {
        let mut raw = Self::default();
        for (key, value) in &flags.defaults {
            if let Some(setting) = table::find(key) {
                raw.insert(setting, (*value).to_owned(), Origin::Default);
            }
        }
        raw.take_file(flags, around);
        for setting in table::ALL {
            let origin = Origin::Variable(setting.variable);
            match around.variable(setting.variable) {
                Ok(Some(text)) => raw.insert(setting, text, origin),
                Ok(None) => {}
                Err(_) => raw.fault(setting.key, origin, "it is not UTF-8", ""),
            }
        }
        for flag in &flags.set {
            raw.take_flag(flag);
        }
        raw
    }

    /// The value of a setting and where it came from; the default if nobody set it.
    pub(crate) fn value(&self, setting: &'static Setting) -> Typed {
        self.typed(setting.key).cloned().unwrap_or_else(|| Typed {
            text: setting.default.to_owned(),
            origin: Origin::Default,
        })
    }

    /// The value of a setting, if somebody set it.
    pub(crate) fn typed(&self, key: &str) -> Option<&Typed> {
        self.values.get(key)
    }

    /// Puts a setting back to what it was in another gathering.
    pub(crate) fn keep(&mut self, key: &str, before: &Self) {
        let Some(setting) = table::find(key) else {
            return;
        };
        match before.typed(key) {
            Some(typed) => self.values.insert(setting.key, typed.clone()),
            None => self.values.remove(setting.key),
        };
    }

    fn take_file(&mut self, flags: &Flags, around: &dyn Surroundings) {
        let (path, origin) = match (&flags.config, around.variable(FILE_VARIABLE)) {
            (Some(path), _) => (path.clone(), Origin::Flag("--config".to_owned())),
            (None, Ok(Some(path))) if !path.is_empty() => {
                (PathBuf::from(path), Origin::Variable(FILE_VARIABLE))
            }
            (None, Ok(_)) => return,
            (None, Err(_)) => {
                let origin = Origin::Variable(FILE_VARIABLE);
                return self.fault("config", origin, "it is not UTF-8", "");
            }
        };
        match around.file(&path) {
            Ok(text) => self.take_text(&path, &text),
            Err(error) => {
                let problem = format!("cannot read {}: {error}", path.display());
                self.fault("config", origin, &problem, "give the path of a TOML file");
            }
        }
    }

    fn take_text(&mut self, path: &Path, text: &str) {
        let (values, faults) = file::read(path, text);
        if values.is_empty() && faults.is_empty() {
            self.empty_file = Some(path.to_owned());
        }
        for (setting, value) in values {
            self.insert(setting, value, Origin::File(path.to_owned()));
        }
        self.faults.extend(faults);
    }

    fn take_flag(&mut self, flag: &Flag) {
        let origin = Origin::Flag(flag.name.clone());
        match table::find(&flag.key) {
            Some(setting) if setting.kind == Kind::Secret => {
                let mend = format!("set {} or use a file of settings", setting.variable);
                let problem = "other users of this machine can see command lines";
                self.fault(setting.key, origin, problem, &mend);
            }
            Some(setting) if setting.kind == Kind::Url && flag.value.contains('@') => {
                let mend = format!("set {} or use a file of settings", setting.variable);
                let problem = "it has a password, and other users can see command lines";
                self.fault(setting.key, origin, problem, &mend);
            }
            Some(setting) => self.insert(setting, flag.value.clone(), origin),
            None => self
                .faults
                .push(file::unknown(&flag.key, origin, "the command line")),
        }
    }

    /// An empty value means "not set": an empty variable is how a shell or a manifest unsets one.
    fn insert(&mut self, setting: &'static Setting, text: String, origin: Origin) {
        let text = text.trim();
        if !text.is_empty() {
            let text = text.to_owned();
            self.values.insert(setting.key, Typed { text, origin });
        }
    }

    fn fault(&mut self, key: &str, origin: Origin, problem: &str, mend: &str) {
        self.faults.push(Fault {
            key: key.to_owned(),
            origin,
            problem: problem.to_owned(),
            mend: mend.to_owned(),
        });
    }
}
