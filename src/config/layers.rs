//! The first step: all configured values as text, each with its source.
//!
//! Values of every source are kept in the one form that environment variables have, text. So the
//! second step parses one form only, and a list in the file means what a list in a variable means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::all_settings;
use super::environment::Environment;
use super::error::{ConfigError, Origin};
use super::file;
use super::setting::{Kind, Setting};

/// The variable with the path of the settings file, unless a flag sets it.
pub const FILE_VARIABLE: &str = "DASHGATE_CONFIG";

/// Settings from the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Path of the settings file.
    pub config: Option<PathBuf>,
    /// Individual settings. The last one of a key takes precedence.
    pub set: Vec<Flag>,
    /// Defaults of the command itself: above those of the table, below all configured values.
    pub defaults: Vec<(&'static str, &'static str)>,
}

/// A setting from a flag.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as written, for errors: `--listen`.
    pub name: String,
    /// Key of the setting.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Flags {
    /// Adds a setting with a flag of its own, if the flag is present.
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

/// A configured value.
#[derive(Clone)]
pub(crate) struct ConfiguredValue {
    /// The value in the form of a variable, trimmed.
    pub(crate) text: String,
    /// Its source.
    pub(crate) origin: Origin,
}

/// All configured values, and the errors so far.
#[derive(Default)]
pub(crate) struct RawSettings {
    values: BTreeMap<&'static str, ConfiguredValue>,
    /// The file, if it was read and has no settings.
    pub(crate) empty_file: Option<PathBuf>,
    /// What cannot be read, and unknown settings.
    pub(crate) errors: Vec<ConfigError>,
}

impl RawSettings {
    /// Reads the file, then the environment, then the flags; later ones take precedence.
    pub(crate) fn gather(flags: &Flags, environment: &dyn Environment) -> Self {
        let mut raw = Self::default();
        for (key, value) in &flags.defaults {
            if let Some(setting) = all_settings::find(key) {
                raw.insert(setting, (*value).to_owned(), Origin::Default);
            }
        }
        raw.read_file(flags, environment);
        for setting in all_settings::ALL {
            let origin = Origin::Variable(setting.variable);
            match environment.variable(setting.variable) {
                Ok(Some(text)) => raw.insert(setting, text, origin),
                Ok(None) => {}
                Err(_) => raw.report(setting.key, origin, "it is not UTF-8", ""),
            }
        }
        for flag in &flags.set {
            raw.read_flag(flag);
        }
        raw
    }

    /// The value of a setting and its source, or the default.
    pub(crate) fn value(&self, setting: &'static Setting) -> ConfiguredValue {
        self.configured(setting.key)
            .cloned()
            .unwrap_or_else(|| ConfiguredValue {
                text: setting.default.to_owned(),
                origin: Origin::Default,
            })
    }

    /// The configured value of a setting.
    pub(crate) fn configured(&self, key: &str) -> Option<&ConfiguredValue> {
        self.values.get(key)
    }

    /// Restores a setting to its value in `before`.
    pub(crate) fn keep(&mut self, key: &str, before: &Self) {
        let Some(setting) = all_settings::find(key) else {
            return;
        };
        match before.configured(key) {
            Some(configured) => self.values.insert(setting.key, configured.clone()),
            None => self.values.remove(setting.key),
        };
    }

    fn read_file(&mut self, flags: &Flags, environment: &dyn Environment) {
        let (path, origin) = match (&flags.config, environment.variable(FILE_VARIABLE)) {
            (Some(path), _) => (path.clone(), Origin::Flag("--config".to_owned())),
            (None, Ok(Some(path))) if !path.is_empty() => {
                (PathBuf::from(path), Origin::Variable(FILE_VARIABLE))
            }
            (None, Ok(_)) => return,
            (None, Err(_)) => {
                let origin = Origin::Variable(FILE_VARIABLE);
                return self.report("config", origin, "it is not UTF-8", "");
            }
        };
        match environment.file(&path) {
            Ok(text) => self.read_text(&path, &text),
            Err(error) => {
                let problem = format!("cannot read {}: {error}", path.display());
                self.report("config", origin, &problem, "give the path of a TOML file");
            }
        }
    }

    fn read_text(&mut self, path: &Path, text: &str) {
        let (values, errors) = file::read(path, text);
        if values.is_empty() && errors.is_empty() {
            self.empty_file = Some(path.to_owned());
        }
        for (setting, value) in values {
            self.insert(setting, value, Origin::File(path.to_owned()));
        }
        self.errors.extend(errors);
    }

    fn read_flag(&mut self, flag: &Flag) {
        let origin = Origin::Flag(flag.name.clone());
        match all_settings::find(&flag.key) {
            Some(setting) if setting.kind == Kind::Secret => {
                let fix = format!("set {} or use a file of settings", setting.variable);
                let problem = "other users of this machine can see command lines";
                self.report(setting.key, origin, problem, &fix);
            }
            Some(setting) if setting.kind == Kind::Url && flag.value.contains('@') => {
                let fix = format!("set {} or use a file of settings", setting.variable);
                let problem = "it has a password, and other users can see command lines";
                self.report(setting.key, origin, problem, &fix);
            }
            Some(setting) => self.insert(setting, flag.value.clone(), origin),
            None => self
                .errors
                .push(file::unknown(&flag.key, origin, "the command line")),
        }
    }

    /// An empty value means "not set": an empty variable is how a shell or a manifest unsets one.
    fn insert(&mut self, setting: &'static Setting, text: String, origin: Origin) {
        let text = text.trim();
        if !text.is_empty() {
            let text = text.to_owned();
            self.values
                .insert(setting.key, ConfiguredValue { text, origin });
        }
    }

    fn report(&mut self, key: &str, origin: Origin, problem: &str, fix: &str) {
        self.errors.push(ConfigError {
            key: key.to_owned(),
            origin,
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        });
    }
}
