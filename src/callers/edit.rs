//! Changes to the key file by commands.
//!
//! The file is edited by people too, so commands only add lines and never rewrite it: its content,
//! comments, owner and permissions are kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::Error;

use super::date;
use super::key_file::{self, Entry, State, config_error, parse};

/// The header of a key file that a command creates.
const HEAD: &str = "\
# Caller keys. `dashgate keys new` adds one, `dashgate keys revoke` revokes one. The gateway reloads
# this file when it changes. The file has no keys: sha256 is the hash of a key.
";

/// Adds a key, and creates the file if it does not exist. `show` outputs the key once the file is
/// known to be writable; if it fails, the key is not added.
pub fn add<E: From<Error>>(
    path: &Path,
    entry: &Entry,
    show: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let (mut file, old) = open(path, true)?;
    // An invalid file must be fixed by hand before keys are added.
    parse(path, &old)?;
    let head = if old.is_empty() { HEAD } else { "" };
    let gap = if old.is_empty() || old.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let new = format!("{head}{gap}{}", entry.text());
    show()?;
    write(&mut file, old.len(), &new).map_err(|error| unwritable(path, &error).into())
}

/// Revokes a key. Returns `false` if it was revoked before.
pub fn revoke(path: &Path, id: &str, now: u64) -> Result<bool, Error> {
    let (mut file, old) = open(path, false)?;
    let entries = parse(path, &old)?;
    let Some(entry) = entries.iter().find(|entry| entry.id == id) else {
        return Err(config_error(
            path,
            &format!("has no key {id}; `dashgate keys list` lists them"),
        ));
    };
    if entry.state(now) == State::Revoked {
        return Ok(false);
    }
    let by_hand = || {
        let line = format!("revoked = {}", date::text(now));
        config_error(
            path,
            &format!("is written in another way; add `{line}` to key {id} yourself"),
        )
    };
    let at = after_id(&old, id).ok_or_else(by_hand)?;
    let (before, after) = old.split_at_checked(at).ok_or_else(by_hand)?;
    let gap = if before.ends_with('\n') { "" } else { "\n" };
    let tail = format!("{gap}revoked = {}\n{after}", date::text(now));
    // The position was found textually: the result is written only if it parses to the intended
    // keys.
    let intended = |entries: &Vec<Entry>| {
        let is_it = |entry: &Entry| entry.id == id && entry.state(now) == State::Revoked;
        entries.iter().any(is_it)
    };
    parse(path, &format!("{before}{tail}"))
        .ok()
        .filter(intended)
        .ok_or_else(by_hand)?;
    write(&mut file, at, &tail).map_err(|error| unwritable(path, &error))?;
    Ok(true)
}

/// The offset of the line after a key's `id`.
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

/// Opens and reads the file, locked against other commands until it is dropped.
fn open(path: &Path, create: bool) -> Result<(File, String), Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    #[cfg(unix)]
    {
        // Hashes are not secret, but the list of callers is private.
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let file = options
        .open(path)
        .map_err(|error| unwritable(path, &error))?;
    file.lock().map_err(|error| unwritable(path, &error))?;
    Ok((file, key_file::text(path)?))
}

/// Writes from this offset to the end. The new text is never shorter than the old, so the file is
/// not truncated first, and a crash loses no key before the offset.
fn write(file: &mut File, at: usize, text: &str) -> io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    config_error(path, &format!("cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::api_key::{self, Digest};
    use super::super::key_file::read;
    use super::super::key_file::tests::entry;
    use super::*;

    fn stored(path: &Path, entry: &Entry) {
        add::<Error>(path, entry, || Ok(())).unwrap();
    }

    /// A directory that is removed with the test.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("dashgate-keys-{}", api_key::generate().unwrap().id);
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

    #[test]
    fn keys_are_added_and_revoked_and_the_rest_of_the_file_is_kept() {
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        let (first, text) = entry("team-a");
        let (second, _) = entry("team-b");
        stored(&path, &first);
        let written = std::fs::read_to_string(&path).unwrap();
        let noted = format!("{written}# ask Ann before you change this");
        std::fs::write(&path, noted).unwrap();
        stored(&path, &second);
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

    #[test]
    fn limits_are_written_read_and_validated() {
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        let (mut entry, _) = entry("a");
        entry.limits.models = Some(vec!["qwen*".to_owned(), "a\"b".to_owned()]);
        entry.limits.requests_per_minute = Some(60);
        entry.limits.tokens_per_day = Some(0);
        stored(&path, &entry);
        assert_eq!(read(&path).unwrap()[0].limits, entry.limits);
        for (line, expected) in [
            (
                "max_streams = \"canary\"",
                "key 1: max_streams is not a number",
            ),
            (
                "tokens_per_minute = -1",
                "key 1: tokens_per_minute is not a number",
            ),
            (
                "tokens_per_minute = 1000000000001",
                "key 1: tokens_per_minute is not a number",
            ),
            ("models = \"canary\"", "key 1: models is not a list"),
            ("models = [1]", "key 1: models is not a list"),
        ] {
            let (entry, _) = super::super::key_file::tests::entry("a");
            let text = format!("{}{line}\n", entry.text());
            let told = parse(Path::new("k"), &text).unwrap_err().to_string();
            assert!(
                told.contains(expected) && !told.contains("canary"),
                "{told}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_private_and_an_old_one_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        stored(&path, &entry("a").0);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let wide = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&path, wide).unwrap();
        let (second, _) = entry("b");
        stored(&path, &second);
        revoke(&path, &second.id, 1).unwrap();
        assert_eq!(mode(&path), 0o640);
    }

    #[test]
    fn concurrent_commands_lose_no_key() {
        let folder = Folder::new();
        let path = folder.0.join("keys.toml");
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let (entry, _) = entry("a");
                    stored(&path, &entry);
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
    fn a_file_in_another_style_is_refused_and_not_damaged() {
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
