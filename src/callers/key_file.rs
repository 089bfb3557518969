//! The key file: TOML, with a `[[key]]` for each key that has the key's hash.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use crate::error::{Error, Reason};
use crate::regular_file;

use super::api_key::{self, Digest};
use super::date;
use super::limits::{MAX_LIMIT, Overrides};

/// The largest file: it fits tens of thousands of keys, and excludes a path to something else.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The longest name, which every log line of a call contains.
const MAX_NAME: usize = 64;

/// The most errors that are reported at once.
const MAX_ERRORS: usize = 20;

/// The fields of a `[[key]]`.
const FIELDS: [&str; 12] = [
    "id",
    "name",
    "sha256",
    "created",
    "expires",
    "revoked",
    "models",
    "requests_per_minute",
    "tokens_per_minute",
    "max_streams",
    "tokens_per_day",
    "audio_seconds_per_day",
];

/// A key in the file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Public part.
    pub id: String,
    /// Name of its owner.
    pub name: Arc<str>,
    /// Hash of the whole key.
    pub digest: Digest,
    /// When it was created, in seconds since 1970.
    pub created: Option<u64>,
    /// When it expires, in seconds since 1970.
    pub expires: Option<u64>,
    /// When it was revoked, in seconds since 1970.
    pub revoked: Option<u64>,
    /// Limits that differ from the defaults.
    pub limits: Overrides,
}

/// Whether a key is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Accepted.
    Active,
    /// Expired.
    Expired,
    /// Revoked.
    Revoked,
}

impl Entry {
    /// The state at a time.
    pub fn state(&self, now: u64) -> State {
        let reached = |moment: Option<u64>| moment.is_some_and(|moment| moment <= now);
        if reached(self.revoked) {
            State::Revoked
        } else if reached(self.expires) {
            State::Expired
        } else {
            State::Active
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "\n[[key]]\nid = \"{}\"\nname = \"{}\"\nsha256 = \"{}\"\n",
            self.id,
            self.name,
            self.digest.hex()
        );
        for (field, moment) in [("created", self.created), ("expires", self.expires)] {
            if let Some(moment) = moment {
                text.push_str(&format!("{field} = {}\n", date::text(moment)));
            }
        }
        if let Some(models) = &self.limits.models {
            let models = models.iter().map(|model| Value::from(model.as_str()));
            let list = Value::Array(models.collect());
            text.push_str(&format!("models = {list}\n"));
        }
        for (field, number) in self.limits.numbers() {
            if let Some(number) = number {
                text.push_str(&format!("{field} = {number}\n"));
            }
        }
        text
    }
}

/// Validates the name of a caller, which logs and metrics contain unchanged.
pub fn check_name(name: &str) -> Result<(), String> {
    let matches = |byte: u8| byte.is_ascii_alphanumeric() || b"._@/:-".contains(&byte);
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(matches) {
        return Ok(());
    }
    let wanted = "1 to 64 letters, digits and . _ @ / : -";
    Err(format!("a name is {wanted}"))
}

/// Reads a key file.
pub fn read(path: &Path) -> Result<Vec<Entry>, Error> {
    parse(path, &text(path)?)
}

/// Reads the text of a key file.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let read = || {
        let mut text = String::new();
        regular_file::open(path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = read().map_err(|error| {
        let advice = match error.kind() == io::ErrorKind::NotFound {
            true => "; create the first key with `dashgate keys new --name NAME`",
            false => "",
        };
        config_error(path, &format!("cannot be read: {error}{advice}"))
    })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(config_error(
            path,
            "is larger than 16 MiB; is it a key file",
        ));
    }
    Ok(text)
}

/// The error for a key file that became empty.
pub(super) fn blank(path: &Path) -> Error {
    config_error(path, "is empty; to have no keys, leave a comment in it")
}

/// The keys in a text, or all errors. No value is quoted: it may be a key in place of its hash.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, Error> {
    let table = text.parse::<Table>().map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        config_error(path, &format!("is not TOML at line {line}"))
    })?;
    let mut errors = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    for (name, value) in &table {
        match (name.as_str(), value) {
            ("key", Value::Array(list)) => {
                for (at, value) in list.iter().enumerate() {
                    entries.extend(entry(at + 1, value, &mut errors));
                }
            }
            _ => errors.push(format!("{name:?} is not known; write [[key]] for each key")),
        }
    }
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    ids.sort_unstable();
    for pair in ids.windows(2) {
        if let [one, other] = pair
            && one == other
        {
            errors.push(format!("duplicate id {one}; create a new key"));
        }
    }
    if errors.is_empty() {
        return Ok(entries);
    }
    let more = errors.len().saturating_sub(MAX_ERRORS);
    errors.truncate(MAX_ERRORS);
    if more > 0 {
        errors.push(format!("and {more} more"));
    }
    Err(config_error(
        path,
        &format!("is invalid: {}", errors.join("; ")),
    ))
}

fn entry(number: usize, value: &Value, errors: &mut Vec<String>) -> Option<Entry> {
    let before = errors.len();
    let mut wrong = |what: String| errors.push(format!("key {number}: {what}"));
    let Some(fields) = value.as_table() else {
        wrong("is not a table; write [[key]]".to_owned());
        return None;
    };
    for name in fields
        .keys()
        .filter(|name| !FIELDS.contains(&name.as_str()))
    {
        wrong(format!(
            "{name:?} is not known; known are {}",
            FIELDS.join(", ")
        ));
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (id, name) = (text("id"), text("name"));
    if !api_key::is_id(id) {
        wrong("id is not the 12 hexadecimal digits of the key".to_owned());
    }
    if let Err(what) = check_name(name) {
        wrong(format!("name is invalid: {what}"));
    }
    let digest = Digest::parse(text("sha256"));
    if digest.is_none() {
        wrong("sha256 is not the 64 hexadecimal digits of the key's hash".to_owned());
    }
    let mut moment = |name: &str| {
        let value = fields.get(name)?;
        let moment = value.as_datetime().and_then(date::seconds);
        if moment.is_none() {
            wrong(format!(
                "{name} is not a timestamp; write it without quotes, as in 2027-01-31T12:00:00Z"
            ));
        }
        moment
    };
    let (created, expires) = (moment("created"), moment("expires"));
    let revoked = moment("revoked");
    let limits = limits(fields, &mut wrong);
    let digest = digest.filter(|_| errors.len() == before)?;
    Some(Entry {
        id: id.to_owned(),
        name: name.into(),
        digest,
        created,
        expires,
        revoked,
        limits,
    })
}

/// The limits of a key.
fn limits(fields: &Table, wrong: &mut impl FnMut(String)) -> Overrides {
    let mut limits = Overrides::default();
    for (name, value) in fields {
        if let Some(place) = limits.number(name) {
            let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
            *place = number.filter(|number| *number <= MAX_LIMIT);
            if place.is_none() {
                wrong(format!(
                    "{name} is not a number; write digits only, 0 for no limit"
                ));
            }
        }
    }
    if let Some(models) = fields.get("models") {
        let name = |value: &Value| value.as_str().map(str::to_owned);
        let list = models
            .as_array()
            .map(|list| list.iter().map(name).collect());
        limits.models = list.flatten();
        if limits.models.is_none() {
            wrong("models is not a list of names; write [\"qwen*\"]".to_owned());
        }
    }
    limits
}

/// An error in this file.
pub(super) fn config_error(path: &Path, what: &str) -> Error {
    let message = format!("the key file {} {what}", path.display());
    // A configuration error, which is never returned to a caller.
    Error::new(Reason::InvalidRequest, message)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(name: &str) -> (Entry, String) {
        let key = api_key::generate().unwrap();
        let entry = Entry {
            id: key.id,
            name: name.into(),
            digest: key.digest,
            created: Some(1_000_000_000),
            expires: None,
            revoked: None,
            limits: Overrides::default(),
        };
        (entry, key.text.expose().to_owned())
    }

    #[test]
    fn all_errors_of_a_file_are_reported_without_values() {
        let text = "top = 1\n[[key]]\nid = \"canary\"\nname = \"canary name\"\n\
                    sha256 = \"dg_canary\"\nexpires = \"canary\"\nmodle = 1\n";
        let told = parse(Path::new("k.toml"), text).unwrap_err().to_string();
        for expected in [
            "k.toml",
            "\"top\" is not known",
            "key 1: \"modle\" is not known; known are id, name",
            "key 1: id is not",
            "key 1: name is invalid: a name is 1 to 64",
            "key 1: sha256 is not",
            "key 1: expires is not a timestamp",
        ] {
            assert!(told.contains(expected), "{expected}\nin {told}");
        }
        assert!(!told.contains("canary"), "{told}");
        let told = parse(Path::new("k"), "a = 1\nb = canary\n").unwrap_err();
        assert!(told.message().contains("line 2"), "{told}");
        assert!(!format!("{told:?}").contains("canary"));
        let (one, _) = entry("a");
        let twice = format!("{0}{0}", one.text());
        let told = parse(Path::new("k"), &twice).unwrap_err();
        assert!(told.message().contains("duplicate id"), "{told}");
        assert!(parse(Path::new("k"), "").unwrap().is_empty());
    }

    #[test]
    fn a_missing_file_is_reported_with_how_to_create_it() {
        let told = read(Path::new("/nowhere/keys.toml")).unwrap_err();
        assert!(told.message().contains("dashgate keys new"), "{told}");
    }
}
