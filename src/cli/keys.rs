//! `dashgate keys`: manages the API keys of callers.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};

use crate::callers::key_file::{self, Entry, State};
use crate::callers::limits::{MAX_LIMIT, Overrides};
use crate::callers::{api_key, date, edit};
use crate::config::{self, ProcessEnvironment};

use super::error::Failure;
use super::exit::Exit;
use super::gateway_flags::Choices;
use super::terminal::{Terminal, Unwritten};

/// Text below the help of `keys`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate keys new --name team-a --file keys.toml          prints the key, once
  export DASHGATE_CALLERS_KEYS_FILE=keys.toml               or --file with each command
  dashgate keys new --name team-b --expires 90d --requests-per-minute 60 --models 'qwen3-*'
  dashgate keys list
  dashgate keys revoke 3f9a1c2b77d0                         by the id of `keys list`
  dashgate serve --set callers.keys_file=keys.toml          requires a key from now on

The file has hashes, never a key. Default: callers.keys_file (DASHGATE_CALLERS_KEYS_FILE). A
running gateway reloads it within two seconds.";

/// Arguments of `keys`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a key and print it, once
    New {
        /// The name of the caller in logs and metrics: letters, digits and . _ @ / : -
        #[arg(long, value_name = "NAME", value_parser = name)]
        name: String,
        /// When it expires: a duration such as 90d or 12h, or a date such as 2027-01-31
        #[arg(long, value_name = "TIME", value_parser = expires)]
        expires: Option<u64>,
        /// The allowed models, with `*` for any characters, for example `qwen3-*,qwen3-vl-plus`
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        models: Option<Vec<String>>,
        /// The maximum number of calls per minute; 0: no limit
        #[arg(long, value_name = "N", value_parser = number())]
        requests_per_minute: Option<u64>,
        /// The maximum number of input and output tokens per minute; 0: no limit
        #[arg(long, value_name = "N", value_parser = number())]
        tokens_per_minute: Option<u64>,
        /// The maximum number of concurrent calls; 0: no limit
        #[arg(long, value_name = "N", value_parser = number())]
        max_streams: Option<u64>,
        /// The maximum number of tokens per day (UTC); 0: no limit
        #[arg(long, value_name = "N", value_parser = number())]
        tokens_per_day: Option<u64>,
        /// The maximum audio of live sessions per day (UTC), in seconds; 0: no limit
        #[arg(long, value_name = "N", value_parser = number())]
        audio_seconds_per_day: Option<u64>,
        #[command(flatten)]
        place: Place,
    },
    /// List the keys: id, name, state, creation, expiry, limits
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a key: new calls with it are refused; running streams continue
    Revoke {
        /// The id of the key, the 12 digits between the underscores
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// The key file.
#[derive(Args, Debug)]
struct Place {
    /// The key file [default: callers.keys_file] [env: DASHGATE_CALLERS_KEYS_FILE]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    choices: Choices,
}

impl Place {
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.file {
            return Ok(path.clone());
        }
        let path = config::load_keys_file(&self.choices.flags(), &ProcessEnvironment)?;
        path.ok_or_else(|| {
            Failure::usage("no key file").with_advice(
                "pass --file keys.toml, or set callers.keys_file or DASHGATE_CALLERS_KEYS_FILE",
            )
        })
    }
}

/// Creates, lists or revokes keys.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match &arguments.action {
        Action::New {
            name,
            expires,
            models,
            requests_per_minute,
            tokens_per_minute,
            max_streams,
            tokens_per_day,
            audio_seconds_per_day,
            place,
        } => {
            let limits = Overrides {
                models: models.clone(),
                requests_per_minute: *requests_per_minute,
                tokens_per_minute: *tokens_per_minute,
                max_streams: *max_streams,
                tokens_per_day: *tokens_per_day,
                audio_seconds_per_day: *audio_seconds_per_day,
            };
            new((name, *expires, limits), &place.path()?, terminal)?;
        }
        Action::List { place } => {
            let entries = key_file::read(&place.path()?)?;
            terminal.answer(&listing(&entries, date::now()))?;
        }
        Action::Revoke { id, place } => {
            // The argument may be a whole key; its id is part of it. The key is now in the shell's
            // history.
            let id = id.strip_prefix(api_key::PREFIX).unwrap_or(id);
            let id = id.split('_').next().unwrap_or(id);
            match edit::revoke(&place.path()?, id, date::now())? {
                true => terminal.answer(&format!("revoked {id}\n"))?,
                false => terminal.answer(&format!("{id} is already revoked\n"))?,
            }
        }
    }
    Ok(Exit::Done)
}

fn new(
    (name, expires, limits): (&str, Option<u64>, Overrides),
    path: &Path,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let key = api_key::generate()?;
    let entry = Entry {
        id: key.id.clone(),
        name: name.into(),
        digest: key.digest,
        created: Some(date::now()),
        expires,
        revoked: None,
        limits,
    };
    if is_null(io::stdout()).unwrap_or(false) {
        return Err(Failure::failed("OUTPUT", "stdout is closed or /dev/null")
            .with_advice("the key was not stored: read stdout, where it is printed once"));
    }
    // Printed before it is stored: a key that was not printed must not be added.
    let mut seen = false;
    let added = edit::add(path, &entry, || {
        let shown = terminal.answer(&format!("{}\n", key.text.expose()));
        shown.map_err(|why| match why {
            Unwritten::Closed => Failure::failed("OUTPUT", "stdout is not read"),
            Unwritten::Failed(_) => why.into(),
        })?;
        seen = true;
        Ok::<_, Failure>(())
    });
    added.map_err(|failure| match (seen, failure.exit()) {
        (true, _) => failure.with_advice("the printed key was not stored: create another"),
        (false, Exit::Failed) => failure.with_advice("the key was not stored: create another"),
        (false, _) => failure,
    })?;
    let until = match expires {
        Some(moment) => format!(" until {}", date::text(moment)),
        None => String::new(),
    };
    let (id, path) = (key.id, path.display());
    terminal.note(&format!(
        "key {id} of {name}{until} is in {path}, as a hash. The key is not shown again."
    ));
    Ok(())
}

/// Whether this is `/dev/null`, which also replaces an output that was closed at the start.
fn is_null(output: impl AsFd) -> io::Result<bool> {
    let output = File::from(output.as_fd().try_clone_to_owned()?);
    Ok(output.metadata()?.rdev() == fs::metadata("/dev/null")?.rdev())
}

fn listing(entries: &[Entry], now: u64) -> String {
    let mut text = String::new();
    let widest = entries.iter().map(|entry| entry.name.len()).max();
    let width = widest.unwrap_or_default().max(4);
    let mut row = |[id, name, state, created, expires, limits]: [&str; 6]| {
        let row =
            format!("{id:<12}  {name:<width$}  {state:<7}  {created:<20}  {expires:<20}  {limits}");
        let _ = writeln!(text, "{}", row.trim_end());
    };
    row(["ID", "NAME", "STATE", "CREATED", "EXPIRES", "LIMITS"]);
    for entry in entries {
        let state = match entry.state(now) {
            State::Active => "active",
            State::Expired => "expired",
            State::Revoked => "revoked",
        };
        let moment = |moment: Option<u64>| moment.map_or("-".to_owned(), date::text);
        let (created, expires) = (moment(entry.created), moment(entry.expires));
        let limits = limits(&entry.limits);
        row([&entry.id, &entry.name, state, &created, &expires, &limits]);
    }
    text
}

/// The limits that differ from the defaults.
fn limits(limits: &Overrides) -> String {
    let numbers = limits.numbers().into_iter();
    let mut words: Vec<_> = numbers
        .filter_map(|(name, number)| Some(format!("{name}={}", number?)))
        .collect();
    if let Some(models) = &limits.models {
        words.push(format!("models={}", models.join(",")));
    }
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(" "),
    }
}

fn number() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=MAX_LIMIT)
}

fn name(text: &str) -> Result<String, String> {
    key_file::check_name(text).map(|()| text.to_owned())
}

/// Parses an expiry: `90d` and `12h` from now, or a date.
fn expires(text: &str) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let span = match days {
        Some(days) => date::DAY.checked_mul(days),
        None => config::duration(text).ok().map(|span| span.as_secs()),
    };
    let now = date::now();
    let moment = match span {
        Some(span) => now.checked_add(span),
        None => date::parse(text),
    };
    match moment {
        // The file has years of four digits.
        Some(moment) if moment > now && moment < 8000 * 365 * date::DAY => Ok(moment),
        Some(_) => Err("that is past, or too far away".to_owned()),
        None => Err("write a duration such as 90d or 12h, or a date such as 2027-01-31".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::fake;
    use super::*;

    #[test]
    fn a_key_is_printed_once_on_stdout_and_the_file_holds_its_hash() {
        let made = api_key::generate().unwrap();
        let path = std::env::temp_dir().join(format!("dashgate-{}.toml", made.id));
        let (mut terminal, out, err) = fake::terminal(false, false);
        let limits = Overrides {
            max_streams: Some(3),
            ..Overrides::default()
        };
        new(("team-a", None, limits), &path, &mut terminal).unwrap();
        let entries = key_file::read(&path).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let text = out.text();
        let key = text.strip_suffix('\n').unwrap();
        assert_eq!(api_key::Digest::of(key).hex(), entries[0].digest.hex());
        assert!(!written.contains(key) && !err.text().contains(key));
        assert!(err.text().contains(&entries[0].id), "{}", err.text());
        let listing = listing(&entries, date::now());
        assert!(listing.contains("team-a  active"), "{listing}");
        assert!(listing.contains("  max_streams=3\n"), "{listing}");
        assert!(!listing.contains(&entries[0].digest.hex()), "{listing}");
    }

    #[test]
    fn an_end_is_a_span_or_a_date_that_comes() {
        let in_days = |days| date::now() + days * date::DAY;
        let near = |read: Result<u64, String>, expected: u64| {
            let read = read.unwrap();
            assert!((expected..expected + 60).contains(&read), "{read}");
        };
        near(expires("90d"), in_days(90));
        near(expires("48h"), in_days(2));
        assert_eq!(
            expires("2999-01-31"),
            Ok(date::parse("2999-01-31").unwrap())
        );
        for wrong in ["", "soon", "0d", "-1d", "2001-01-01", "99999999d", "d"] {
            assert!(expires(wrong).is_err(), "{wrong}");
        }
    }
}
