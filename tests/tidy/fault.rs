//! What a rule has to say.

use std::fmt;

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The file, from the top of the project.
    pub(crate) file: String,
    /// The line, from 1; 0 stands for the whole file.
    pub(crate) line: usize,
    /// Which rule.
    pub(crate) rule: &'static Rule,
    /// What was found there.
    pub(crate) found: String,
}

/// A rule of the house.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its name.
    pub(crate) name: &'static str,
    /// Why it is there.
    pub(crate) why: &'static str,
    /// How to fix what breaks it.
    pub(crate) fix: &'static str,
}

impl Rule {
    /// A place that breaks this rule.
    pub(crate) fn broken(
        &'static self,
        file: &str,
        line: usize,
        found: impl Into<String>,
    ) -> Fault {
        Fault {
            file: file.to_owned(),
            line,
            rule: self,
            found: found.into(),
        }
    }
}

/// The names of the rules that are broken, in the order of the places.
pub(crate) fn names(faults: &[Fault]) -> Vec<&'static str> {
    faults.iter().map(|fault| fault.rule.name).collect()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, why, fix } = self;
        write!(f, "[{name}]\n  why:  {why}\n  fix:  {fix}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.found)
    }
}
