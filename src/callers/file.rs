//! The file of keys: TOML, a `[[key]]` for each, with the hash in the place of the key.
//!
//! People edit it too, so commands only ever add lines and never write it anew: what stands there
//! stays, comments and all, and so do its owner and its rights.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use crate::error::{Error, Reason};

use super::date;
use super::key::{self, Digest};

/// The largest file that is read: tens of thousands of keys, and no disk image by mistake.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The longest name: it stands in every line of the log.
const MAX_NAME: usize = 64;

/// The most faults of a file that are told at once.
const MAX_FAULTS: usize = 20;

/// What may stand in a `[[key]]`.
const FIELDS: [&str; 6] = ["id", "name", "sha256", "created", "expires", "revoked"];

/// What stands at the head of a file that a command made.
const HEAD: &str = "\
# Keys of callers. `dashgate keys new` adds one, `dashgate keys revoke` takes one back. The gateway
# reads this file again when it changes. A key itself is never in here: sha256 is its hash.
";

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

    fn text(&self) -> String {
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
        File::open(path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = read().map_err(|error| {
        let mend = match error.kind() == io::ErrorKind::NotFound {
            true => "; make the first key with `dashgate keys new --name NAME`",
            false => "",
        };
        fault(path, &format!("cannot be read: {error}{mend}"))
    })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(fault(path, "is larger than 16 MiB; is it a file of keys"));
    }
    Ok(text)
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
            faults.push(format!("the id {one} stands twice; make a new key"));
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
    Err(fault(path, &format!("is wrong: {}", faults.join("; "))))
}

fn entry(number: usize, value: &Value, faults: &mut Vec<String>) -> Option<Entry> {
    let before = faults.len();
    let mut wrong = |what: String| faults.push(format!("key {number}: {what}"));
    let Some(fields) = value.as_table() else {
        wrong("is no table; write [[key]]".to_owned());
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
        wrong("id is not the 12 hexadecimal digits that stand in the key".to_owned());
    }
    if let Err(what) = check_name(name) {
        wrong(format!("name is not one: {what}"));
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
                "{name} is no moment; write it without quotes, as in 2027-01-31T12:00:00Z"
            ));
        }
        moment
    };
    let (created, expires) = (moment("created"), moment("expires"));
    let revoked = moment("revoked");
    let digest = digest.filter(|_| faults.len() == before)?;
    Some(Entry {
        id: id.to_owned(),
        name: name.into(),
        digest,
        created,
        expires,
        revoked,
    })
}

/// Adds a key, and makes the file if there is none.
pub fn add(path: &Path, entry: &Entry) -> Result<(), Error> {
    let (mut file, old) = open(path, true)?;
    // A file that is wrong is mended by a person, before more goes into it.
    parse(path, &old)?;
    let head = if old.is_empty() { HEAD } else { "" };
    let gap = if old.is_empty() || old.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let new = format!("{head}{gap}{}", entry.text());
    write(&mut file, old.len(), &new).map_err(|error| unwritable(path, &error))
}

/// Takes a key back. `false` if that was done before.
pub fn revoke(path: &Path, id: &str, now: u64) -> Result<bool, Error> {
    let (mut file, old) = open(path, false)?;
    let entries = parse(path, &old)?;
    let Some(entry) = entries.iter().find(|entry| entry.id == id) else {
        return Err(fault(
            path,
            &format!("has no key {id}; `dashgate keys list` lists them"),
        ));
    };
    if entry.state(now) == State::Revoked {
        return Ok(false);
    }
    let by_hand = || {
        let line = format!("revoked = {}", date::text(now));
        fault(
            path,
            &format!("is written in another way; add `{line}` to key {id} yourself"),
        )
    };
    let at = after_id(&old, id).ok_or_else(by_hand)?;
    let (before, after) = old.split_at_checked(at).ok_or_else(by_hand)?;
    let gap = if before.ends_with('\n') { "" } else { "\n" };
    let tail = format!("{gap}revoked = {}\n{after}", date::text(now));
    // What was found by its looks is written only if it says what is meant.
    let meant = |entries: &Vec<Entry>| {
        let is_it = |entry: &Entry| entry.id == id && entry.state(now) == State::Revoked;
        entries.iter().any(is_it)
    };
    parse(path, &format!("{before}{tail}"))
        .ok()
        .filter(meant)
        .ok_or_else(by_hand)?;
    write(&mut file, at, &tail).map_err(|error| unwritable(path, &error))?;
    Ok(true)
}

/// Where the line after a key's `id` begins.
fn after_id(text: &str, id: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let value = line.trim_start().strip_prefix("id");
        let value = value.and_then(|rest| rest.trim_start().strip_prefix('='));
        let quoted = |quote: char| {
            value.is_some_and(|value| {
                value
                    .trim_start()
                    .starts_with(&format!("{quote}{id}{quote}"))
            })
        };
        if quoted('"') || quoted('\'') {
            return Some(at);
        }
    }
    None
}

/// The file and its text, locked against other commands until it is dropped.
fn open(path: &Path, create: bool) -> Result<(File, String), Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    #[cfg(unix)]
    {
        // Hashes are no secrets, but who has which key is nobody else's business.
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let file = options
        .open(path)
        .map_err(|error| unwritable(path, &error))?;
    file.lock().map_err(|error| unwritable(path, &error))?;
    Ok((file, text(path)?))
}

/// Writes from here to the end. The new text is never shorter than the old, so nothing is cut off
/// first, and a crash can lose no key that stands above.
fn write(file: &mut File, at: usize, text: &str) -> io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    fault(path, &format!("cannot be written: {error}"))
}

fn fault(path: &Path, what: &str) -> Error {
    let message = format!("the file of keys {} {what}", path.display());
    // A fault of a file that somebody named, and it never reaches a caller.
    Error::new(Reason::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that goes with the test.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("dashgate-keys-{}", key::fresh().unwrap().id);
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn entry(name: &str) -> (Entry, String) {
        let key = key::fresh().unwrap();
        let entry = Entry {
            id: key.id,
            name: name.into(),
            digest: key.digest,
            created: Some(1_000_000_000),
            expires: None,
            revoked: None,
        };
        (entry, key.text.expose().to_owned())
    }

    #[test]
    fn keys_are_added_and_taken_back_and_the_rest_of_the_file_stays() {
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        let (first, text) = entry("team-a");
        let (second, _) = entry("team-b");
        add(&path, &first).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        let noted = format!("{written}# ask Ann before you change this");
        std::fs::write(&path, noted).unwrap();
        add(&path, &second).unwrap();
        assert!(revoke(&path, &first.id, 2_000_000_000).unwrap());
        assert!(!revoke(&path, &first.id, 2_000_000_001).unwrap());
        let entries = read(&path).unwrap();
        let states: Vec<_> = entries.iter().map(|e| e.state(2_000_000_000)).collect();
        assert_eq!(states, [State::Revoked, State::Active]);
        assert_eq!(entries[0].state(1_999_999_999), State::Active);
        assert!(entries[0].digest.matches(&Digest::of(&text)));
        assert_eq!(&*entries[1].name, "team-b");
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(
            written.contains("# ask Ann before you change this\n"),
            "{written}"
        );
        assert!(written.starts_with(HEAD), "{written}");
        assert!(!written.contains(&text));
        let unknown = revoke(&path, "000000000000", 1).unwrap_err();
        assert!(unknown.message().contains("keys list"), "{unknown}");
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_rights() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        add(&path, &entry("a").0).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let wide = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&path, wide).unwrap();
        let (second, _) = entry("b");
        add(&path, &second).unwrap();
        revoke(&path, &second.id, 1).unwrap();
        assert_eq!(mode(&path), 0o640);
    }

    #[test]
    fn commands_at_the_same_time_lose_no_key() {
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let (entry, _) = entry("a");
                    add(&path, &entry).unwrap();
                    assert!(revoke(&path, &entry.id, 1).unwrap());
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let entries = read(&path).unwrap();
        let revoked = entries.iter().filter(|e| e.state(1) == State::Revoked);
        assert_eq!((entries.len(), revoked.count()), (16, 16));
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
            "key 1: name is not one: a name is 1 to 64",
            "key 1: sha256 is not",
            "key 1: expires is no moment",
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
        assert!(told.message().contains("stands twice"), "{told}");
        assert!(parse(Path::new("k"), "").unwrap().is_empty());
    }

    #[test]
    fn a_file_that_is_not_there_says_how_to_make_it() {
        let told = read(Path::new("/nowhere/keys.toml")).unwrap_err();
        assert!(told.message().contains("dashgate keys new"), "{told}");
    }

    #[test]
    fn a_file_in_another_style_is_revoked_by_hand_and_not_broken() {
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        let (entry, _) = entry("a");
        let (id, hash) = (&entry.id, entry.digest.hex());
        let inline = format!("key = [{{ id = \"{id}\", name = \"a\", sha256 = \"{hash}\" }}]\n");
        std::fs::write(&path, &inline).unwrap();
        let told = revoke(&path, id, 1).unwrap_err();
        assert!(told.message().contains("yourself"), "{told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), inline);
    }
}
