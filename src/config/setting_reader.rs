//! Reads individual settings and collects all errors.

use std::path::PathBuf;
use std::time::Duration;

use super::all_settings;
use super::error::{ConfigError, ConfigErrors, Origin};
use super::layers::{ConfiguredValue, RawSettings};
use super::setting::{Kind, Setting};
use super::value::{self, ValueError};

/// The longest part of an invalid value that is quoted.
const MAX_QUOTED: usize = 60;

/// Reads individual settings and collects all errors.
pub(crate) struct SettingReader<'a> {
    /// The configured values.
    pub(crate) raw: &'a RawSettings,
    errors: Vec<ConfigError>,
}

impl<'a> SettingReader<'a> {
    /// Starts with the errors of reading the sources.
    pub(crate) fn new(raw: &'a RawSettings) -> Self {
        let errors = raw.errors.clone();
        Self { raw, errors }
    }

    /// The number of errors so far.
    pub(crate) fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// Returns the settings if there are no errors.
    pub(crate) fn finish<T>(self, settings: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(settings);
        }
        Err(ConfigErrors(self.errors))
    }

    /// Reads a setting. An invalid one is recorded as an error and replaced by the type's default.
    pub(crate) fn read<T: Default>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> T {
        let Some(setting) = all_settings::find(key) else {
            // Reached only for a key that the code misspells, which the test of defaults finds.
            self.report(
                key,
                Origin::Default,
                ValueError::new("it is not in the table", ""),
            );
            return T::default();
        };
        let configured = self.raw.value(setting);
        match parse(&configured.text) {
            Ok(value) => value,
            Err(wrong) => {
                self.report_value(key, &configured, wrong);
                T::default()
            }
        }
    }

    /// Reads a duration and checks its range.
    pub(crate) fn duration(&mut self, key: &'static str) -> Duration {
        let range = match all_settings::find(key).map(|setting| setting.kind) {
            Some(Kind::Duration(least, most)) => Some((least, most)),
            _ => None,
        };
        self.read(key, |text| {
            within(value::duration(text)?, range, value::duration)
        })
    }

    /// Reads a duration that may not exceed `max`; a default is lowered to it.
    pub(crate) fn duration_below(&mut self, key: &'static str, max: Duration) -> Duration {
        let duration = self.duration(key);
        if duration > max && self.raw.configured(key).is_some() {
            let fix = "lower it or raise timeouts.max";
            self.conflict(key, "it is more than timeouts.max", fix);
        }
        duration.min(max)
    }

    /// Reads a size and checks its range.
    pub(crate) fn size(&mut self, key: &'static str) -> usize {
        let range = match all_settings::find(key).map(|setting| setting.kind) {
            Some(Kind::Size(least, most)) => Some((least, most)),
            _ => None,
        };
        self.read(key, |text| within(value::size(text)?, range, value::size))
    }

    /// Reads an optional size and checks its range.
    pub(crate) fn size_if_set(&mut self, key: &'static str) -> Option<usize> {
        self.raw.configured(key).is_some().then(|| self.size(key))
    }

    /// Reads a number and checks its range.
    pub(crate) fn count<T: TryFrom<u64> + Default>(&mut self, key: &'static str) -> T {
        let range = match all_settings::find(key).map(|setting| setting.kind) {
            Some(Kind::Count(least, most)) => Some((least, most)),
            _ => None,
        };
        self.read(key, |text| {
            let number = value::count(text)?;
            let (least, most) = range.unwrap_or_default();
            let outside = || outside(least, most);
            if !(least..=most).contains(&number) {
                return Err(outside());
            }
            T::try_from(number).map_err(|_| outside())
        })
    }

    /// Reads the optional path of a file.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.read(key, |text| {
            Ok((!text.is_empty()).then(|| PathBuf::from(text)))
        })
    }

    /// Records that two settings, each valid, conflict.
    pub(crate) fn conflict(&mut self, key: &'static str, problem: &str, fix: &str) {
        let origin = self
            .raw
            .configured(key)
            .map(|configured| configured.origin.clone());
        let origin = origin.unwrap_or(Origin::Default);
        self.report(key, origin, ValueError::new(problem, fix));
    }

    /// Records an error with the value that caused it, unless that is a secret.
    pub(crate) fn report_value(
        &mut self,
        key: &str,
        configured: &ConfiguredValue,
        wrong: ValueError,
    ) {
        let hidden = |setting: &Setting| matches!(setting.kind, Kind::Secret | Kind::Url);
        let secret = all_settings::find(key).is_none_or(hidden);
        let problem = match secret {
            true => wrong.problem,
            false => {
                let text: String = configured.text.chars().take(MAX_QUOTED).collect();
                format!("{text:?}: {}", wrong.problem)
            }
        };
        self.report(
            key,
            configured.origin.clone(),
            ValueError::new(problem, wrong.fix),
        );
    }

    /// Records an error, which must not contain a secret.
    pub(crate) fn report(&mut self, key: &str, origin: Origin, wrong: ValueError) {
        self.errors.push(ConfigError {
            key: key.to_owned(),
            origin,
            problem: wrong.problem,
            fix: wrong.fix,
        });
    }
}

fn within<T: PartialOrd>(
    value: T,
    range: Option<(&'static str, &'static str)>,
    parse: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<T, ValueError> {
    let Some((least, most)) = range else {
        return Err(ValueError::new("the table has no range for it", ""));
    };
    if value < parse(least)? || value > parse(most)? {
        return Err(outside(least, most));
    }
    Ok(value)
}

fn outside(least: impl std::fmt::Display, most: impl std::fmt::Display) -> ValueError {
    ValueError::new("it is out of range", format!("write {least} to {most}"))
}
