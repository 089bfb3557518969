//! The file of keys: TOML, a `[[key]]` for each, with the hash in the place of the key.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use crate::error::{Error, Reason};
use crate::regular_file;

use super::date;
use super::key::{self, Digest};
use super::limits::{LARGEST, Overrides};

/// The largest file that is read: tens of thousands of keys, and no disk image by mistake.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The longest name: it stands in every line of the log.
const MAX_NAME: usize = 64;

/// The most faults of a file that are told at once.
const MAX_FAULTS: usize = 20;

/// What may stand in a `[[key]]`.
const FIELDS: [&str; 11] = [
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
];

/// A key as the file has it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its public part.
    pub id: String,
    /// Whose it is.
    pub name: Arc<str>,
    /// The hash of all of it.
    pub digest: Digest,
    /// When it was made, in seconds since 1970.
    pub created: Option<u64>,
    /// From when on it is no good.
    pub expires: Option<u64>,
    /// Since when it is taken back.
    pub revoked: Option<u64>,
    /// What it may use, where that is not as for all.
    pub limits: Overrides,
}

/// Whether a key opens the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl Entry {
    /// What it is worth at this moment.
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

/// Checks the name of a caller. It is told to logs and metrics as it is.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@/:-".contains(&byte);
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(fits) {
        return Ok(());
    }
    let wanted = "1 to 64 letters, digits and . _ @ / : -";
    Err(format!("a name is {wanted}"))
}

/// Reads a file of keys.
pub fn read(path: &Path) -> Result<Vec<Entry>, Error> {
    parse(path, &text(path)?)
}

/// The text of a file of keys.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let read = || {
        let mut text = String::new();
        regular_file::open(path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = read().map_err(|error| {
        let mend = match error.kind() == io::ErrorKind::NotFound {
            true => "; create the first key with `dashgate keys new --name NAME`",
            false => "",
        };
        fault(path, &format!("cannot be read: {error}{mend}"))
    })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(fault(path, "is larger than 16 MiB; is it a key file"));
    }
    Ok(text)
}

/// The error of a key file without a word in it, where there were keys.
pub(super) fn blank(path: &Path) -> Error {
    fault(path, "is empty; to have no keys, leave a comment in it")
}

/// The keys of a text, or all that is wrong with it. No value is quoted: somebody may have put a
/// key where its hash belongs.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, Error> {
    let table = text.parse::<Table>().map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        fault(path, &format!("is not TOML at line {line}"))
    })?;
    let mut faults = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    for (name, value) in &table {
        match (name.as_str(), value) {
            ("key", Value::Array(list)) => {
                for (at, value) in list.iter().enumerate() {
                    entries.extend(entry(at + 1, value, &mut faults));
                }
            }
            _ => faults.push(format!("{name:?} is not known; write [[key]] for each key")),
        }
    }
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    ids.sort_unstable();
    for pair in ids.windows(2) {
        if let [one, other] = pair
            && one == other
        {
            faults.push(format!("duplicate id {one}; create a new key"));
        }
    }
    if faults.is_empty() {
        return Ok(entries);
    }
    let more = faults.len().saturating_sub(MAX_FAULTS);
    faults.truncate(MAX_FAULTS);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    Err(fault(path, &format!("is invalid: {}", faults.join("; "))))
}

fn entry(number: usize, value: &Value, faults: &mut Vec<String>) -> Option<Entry> {
    let before = faults.len();
    let mut wrong = |what: String| faults.push(format!("key {number}: {what}"));
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
    if !key::is_id(id) {
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
    let digest = digest.filter(|_| faults.len() == before)?;
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

/// What a key may use.
fn limits(fields: &Table, wrong: &mut impl FnMut(String)) -> Overrides {
    let mut limits = Overrides::default();
    for (name, value) in fields {
        if let Some(place) = limits.number(name) {
            let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
            *place = number.filter(|number| *number <= LARGEST);
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

/// A fault of this file.
pub(super) fn fault(path: &Path, what: &str) -> Error {
    let message = format!("the key file {} {what}", path.display());
    // A fault of a file that somebody named, and it never reaches a caller.
    Error::new(Reason::InvalidRequest, message)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(name: &str) -> (Entry, String) {
        let key = key::fresh().unwrap();
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
    fn all_faults_of_a_file_are_told_and_no_value_of_it() {
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
    fn a_file_that_is_not_there_says_how_to_make_it() {
        let told = read(Path::new("/nowhere/keys.toml")).unwrap_err();
        assert!(told.message().contains("dashgate keys new"), "{told}");
    }
}
