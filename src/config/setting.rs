//! The definition of a setting.

/// The type of a setting's value, with its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP address with a port, or a Unix socket.
    Address,
    /// A duration, with minimum and maximum.
    Duration(&'static str, &'static str),
    /// A number of bytes, with minimum and maximum.
    Size(&'static str, &'static str),
    /// An integer, with minimum and maximum.
    Count(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these values.
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
    /// A map from name to name.
    Aliases,
    /// A map from name to list of names.
    Fallbacks,
    /// A map from name to duration.
    Durations,
    /// A map from name to number.
    Counts,
    /// A map from name to number of bytes.
    Sizes,
    /// A map from name to two prices.
    Rates,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key in the file, with the section.
    pub key: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its own flag. Every setting except secrets can also be set with `--set KEY=VALUE`.
    pub flag: Option<&'static str>,
    /// Type and range.
    pub kind: Kind,
    /// Default, in the form of a variable. Empty: not set.
    pub default: &'static str,
    /// Description.
    pub description: &'static str,
    /// The reason for the default.
    pub reason: &'static str,
}

/// When a change at run time takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// For new calls.
    Live,
    /// After a restart.
    Restart,
    /// At the next run of the command that reads it.
    EachRun,
}

/// Settings that are applied at run time: sections with a trailing dot, and single keys. All others
/// need a restart.
const LIVE: &[&str] = &[
    "live.",
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
    /// When a change at run time takes effect.
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
        $description:literal, $reason:literal;)+) => {
        /// The settings, in the order of the reference.
        pub(crate) const ROWS: &[$crate::config::setting::Setting] =
            &[$($crate::config::setting::Setting {
            key: $key,
            variable: $variable,
            flag: $crate::config::setting::settings!(@flag $($flag)?),
            kind: $kind,
            default: $default,
            description: $description,
            reason: $reason,
        },)+];
    };
    (@flag) => { None };
    (@flag $flag:literal) => { Some($flag) };
}

/// Defines a list of settings: `"key" [kind] = "default", "VARIABLE" "--flag": "meaning",
/// "reason";`.
pub(crate) use settings;
