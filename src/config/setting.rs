//! What a setting is.

/// What kind of value a setting takes, and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP address and a port, or a Unix socket.
    Address,
    /// A span of time, from the least to the most.
    Duration(&'static str, &'static str),
    /// A number of bytes, from the least to the most.
    Size(&'static str, &'static str),
    /// A number, from the least to the most.
    Count(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A URL whose password is never shown.
    Url,
    /// The path of a file.
    Path,
    /// A list of names.
    Names,
    /// For each name another name.
    Aliases,
    /// For each name a list of names.
    Fallbacks,
    /// For each name a span of time.
    Durations,
    /// For each name a number.
    Counts,
    /// For each name a number of bytes.
    Sizes,
    /// For each name two prices.
    Rates,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the file: section and key.
    pub key: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its own flag; every setting but a secret can also be set with `--set KEY=VALUE`.
    pub flag: Option<&'static str>,
    /// What it takes.
    pub kind: Kind,
    /// Its default, written as a variable would be. Empty: not set.
    pub default: &'static str,
    /// What it decides.
    pub meaning: &'static str,
    /// Why the default is what it is.
    pub reason: &'static str,
}

/// What happens when a setting is changed while the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It holds for the calls that come next.
    Live,
    /// It holds after a restart.
    Restart,
    /// It is of commands that read it each time they run.
    EachRun,
}

/// What is live: sections, with their dot, and single keys. All else needs a restart.
const LIVE: &[&str] = &[
    "log.level",
    "models.",
    "retry.",
    "server.caller_share_percent",
    "server.heartbeat_after",
    "server.max_chunk_bytes",
    "server.max_in_flight",
    "server.max_metadata_bytes",
    "server.max_partial_requests",
    "server.max_request_bytes",
    "server.request_body_timeout",
    "timeouts.",
    "upstream.",
];

impl Setting {
    /// What happens when it is changed while the gateway runs.
    pub fn change(&self) -> Change {
        let is = |live: &&str| match live.ends_with('.') {
            true => self.key.starts_with(*live),
            false => self.key == *live,
        };
        if self.key.starts_with("client.") {
            Change::EachRun
        } else if LIVE.iter().any(is) {
            Change::Live
        } else {
            Change::Restart
        }
    }
}

macro_rules! settings {
    ($($key:literal [$kind:expr] = $default:literal, $variable:literal $($flag:literal)?:
        $meaning:literal, $reason:literal;)+) => {
        /// The rows, in the order of the reference.
        pub(crate) const ROWS: &[$crate::config::setting::Setting] =
            &[$($crate::config::setting::Setting {
            key: $key,
            variable: $variable,
            flag: $crate::config::setting::settings!(@flag $($flag)?),
            kind: $kind,
            default: $default,
            meaning: $meaning,
            reason: $reason,
        },)+];
    };
    (@flag) => { None };
    (@flag $flag:literal) => { Some($flag) };
}

/// Makes a list of settings: `"key" [kind] = "default", "VARIABLE" "--flag": "meaning", "reason";`.
pub(crate) use settings;
