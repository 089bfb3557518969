//! Reads settings one by one, and keeps all that is wrong.

use std::path::PathBuf;
use std::time::Duration;

use super::error::{Fault, Faults, Origin};
use super::layers::{Raw, Typed};
use super::setting::{Kind, Setting};
use super::table;
use super::value::{self, Wrong};

/// The most of a wrong value that is quoted.
const MAX_QUOTED: usize = 60;

/// Reads settings one by one and keeps what is wrong.
pub(crate) struct Checker<'a> {
    /// What was typed.
    pub(crate) raw: &'a Raw,
    faults: Vec<Fault>,
}

impl<'a> Checker<'a> {
    /// Begins with what was already wrong before.
    pub(crate) fn new(raw: &'a Raw) -> Self {
        let faults = raw.faults.clone();
        Self { raw, faults }
    }

    /// How much has been wrong so far.
    pub(crate) fn faults(&self) -> usize {
        self.faults.len()
    }

    /// The settings, if nothing was wrong.
    pub(crate) fn finish<T>(self, settings: T) -> Result<T, Faults> {
        if self.faults.is_empty() {
            return Ok(settings);
        }
        Err(Faults(self.faults))
    }

    /// The value of a setting. A wrong one is kept as a fault, and stands in for itself as nothing.
    pub(crate) fn read<T: Default>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> T {
        let Some(setting) = table::find(key) else {
            // Only a key that the code misspells comes here; the test of defaults finds it.
            self.fault(
                key,
                Origin::Default,
                Wrong::new("it is not in the table", ""),
            );
            return T::default();
        };
        let typed = self.raw.value(setting);
        match parse(&typed.text) {
            Ok(value) => value,
            Err(wrong) => {
                self.quote(key, &typed, wrong);
                T::default()
            }
        }
    }

    /// A duration within its range.
    pub(crate) fn duration(&mut self, key: &'static str) -> Duration {
        let range = match table::find(key).map(|setting| setting.kind) {
            Some(Kind::Duration(least, most)) => Some((least, most)),
            _ => None,
        };
        self.read(key, |text| {
            within(value::duration(text)?, range, value::duration)
        })
    }

    /// A duration that may not be more than another; a default gives way.
    pub(crate) fn duration_below(&mut self, key: &'static str, max: Duration) -> Duration {
        let duration = self.duration(key);
        if duration > max && self.raw.typed(key).is_some() {
            let mend = "lower it or raise timeouts.max";
            self.clash(key, "it is more than timeouts.max", mend);
        }
        duration.min(max)
    }

    /// A size within its range.
    pub(crate) fn size(&mut self, key: &'static str) -> usize {
        let range = match table::find(key).map(|setting| setting.kind) {
            Some(Kind::Size(least, most)) => Some((least, most)),
            _ => None,
        };
        self.read(key, |text| within(value::size(text)?, range, value::size))
    }

    /// A size within its range, if one is set.
    pub(crate) fn size_if_set(&mut self, key: &'static str) -> Option<usize> {
        self.raw.typed(key).is_some().then(|| self.size(key))
    }

    /// A number within its range.
    pub(crate) fn count<T: TryFrom<u64> + Default>(&mut self, key: &'static str) -> T {
        let range = match table::find(key).map(|setting| setting.kind) {
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

    /// The path of a file, if one is set.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.read(key, |text| {
            Ok((!text.is_empty()).then(|| PathBuf::from(text)))
        })
    }

    /// Two settings that do not fit, each right by itself.
    pub(crate) fn clash(&mut self, key: &'static str, problem: &str, mend: &str) {
        let origin = self.raw.typed(key).map(|typed| typed.origin.clone());
        let origin = origin.unwrap_or(Origin::Default);
        self.fault(key, origin, Wrong::new(problem, mend));
    }

    /// Keeps a fault with the value that caused it, unless that is a secret.
    pub(crate) fn quote(&mut self, key: &str, typed: &Typed, wrong: Wrong) {
        let hidden = |setting: &Setting| matches!(setting.kind, Kind::Secret | Kind::Url);
        let secret = table::find(key).is_none_or(hidden);
        let problem = match secret {
            true => wrong.problem,
            false => {
                let text: String = typed.text.chars().take(MAX_QUOTED).collect();
                format!("{text:?}: {}", wrong.problem)
            }
        };
        self.fault(key, typed.origin.clone(), Wrong::new(problem, wrong.mend));
    }

    /// Keeps a fault. It must not hold a secret.
    pub(crate) fn fault(&mut self, key: &str, origin: Origin, wrong: Wrong) {
        self.faults.push(Fault {
            key: key.to_owned(),
            origin,
            problem: wrong.problem,
            mend: wrong.mend,
        });
    }
}

fn within<T: PartialOrd>(
    value: T,
    range: Option<(&'static str, &'static str)>,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    let Some((least, most)) = range else {
        return Err(Wrong::new("the table has no range for it", ""));
    };
    if value < parse(least)? || value > parse(most)? {
        return Err(outside(least, most));
    }
    Ok(value)
}

fn outside(least: impl std::fmt::Display, most: impl std::fmt::Display) -> Wrong {
    Wrong::new("it is out of range", format!("write {least} to {most}"))
}
