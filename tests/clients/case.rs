//! A case as its file says it. `tests/conformance/README.md` explains the form.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::judge::MATCHERS;
use super::outages::Outage;
use super::{place, played};

/// What all clients must do, once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The name of its file.
    #[serde(skip)]
    pub(crate) name: String,
    /// One sentence: what it shows.
    pub(crate) about: String,
    /// How the gateway is started.
    #[serde(default)]
    pub(crate) gateway: Gateway,
    /// The emulator's script.
    #[serde(default)]
    pub(crate) upstream: Option<Value>,
    /// What the runner is given.
    pub(crate) job: Job,
    /// What must come of it.
    pub(crate) expect: Map<String, Value>,
}

/// How the gateway is started, or what is played instead.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    /// `--set` of each.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
    /// With certificates.
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    /// Whether it listens on a socket of the file system.
    #[serde(default)]
    pub(crate) unix: bool,
    /// Whether it keeps conversations, in a store of its own.
    #[serde(default)]
    pub(crate) store: bool,
    /// Whether it demands a key.
    #[serde(default)]
    pub(crate) keys: bool,
    /// The bytes of answers after which the first connection to the gateway breaks.
    #[serde(default)]
    pub(crate) cut_after_bytes: Option<u64>,
    /// When it is away, in the order of time.
    #[serde(default)]
    pub(crate) outages: Vec<Outage>,
    /// What comes instead of a gateway, call by call.
    #[serde(default)]
    pub(crate) played: Option<Vec<played::Call>>,
}

/// Whose certificates are asked for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    /// The server's.
    Server,
    /// The client's too.
    Mutual,
}

/// What the runner is given, before files and addresses are put in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    /// The target, with `{address}` in it.
    #[serde(default = "plain_address")]
    pub(crate) target: String,
    /// The options of the client.
    #[serde(default)]
    pub(crate) options: Map<String, Value>,
    /// Whether the environment names a proxy that leads nowhere.
    #[serde(default)]
    pub(crate) dead_proxy: bool,
    /// What is called.
    pub(crate) call: Map<String, Value>,
}

fn plain_address() -> String {
    "{address}".to_owned()
}

/// What a runner may be told to do, and what with.
pub(crate) const CALLS: [(&str, &[&str]); 16] = [
    ("converse", &TURN),
    ("stream", &TURN),
    ("deltas", &TURN),
    (
        "dialogue",
        &[
            "do", "model", "system", "name", "turns", "options", "stream",
        ],
    ),
    (
        "tools",
        &[
            "do",
            "model",
            "question",
            "tools",
            "results",
            "max_rounds",
            "stream",
            "parallel",
        ],
    ),
    (
        "upload",
        &["do", "model", "file", "mime_type", "name", "then"],
    ),
    (
        "many",
        &[
            "do",
            "count",
            "conversation",
            "options",
            "timeout_ms",
            "metadata",
            "cancel",
        ],
    ),
    ("stored", &["do", "steps"]),
    ("messages", &["do", "model", "messages"]),
    ("structured", &["do", "model", "question", "repair"]),
    ("models", &["do", "page_size"]),
    ("model", &["do", "name"]),
    ("cancel_call", &["do", "request_id"]),
    ("sniff", &["do", "vectors"]),
    ("live", &LIVE),
    ("speak", &LIVE),
];

const LIVE: [&str; 5] = ["do", "setup", "steps", "timeout_ms", "metadata"];

const TURN: [&str; 11] = [
    "do",
    "conversation",
    "options",
    "request_id",
    "resume",
    "timeout_ms",
    "metadata",
    "cancel",
    "max_retries",
    "expected_turn",
    "history",
];

const OPTIONS: [&str; 6] = [
    "api_key",
    "tls",
    "timeout_ms",
    "idle_timeout_ms",
    "metadata",
    "max_retries",
];

/// What a result may hold, and the four things that the servers report.
const EXPECTED: [&str; 19] = [
    "answers",
    "events",
    "deltas",
    "tool_calls",
    "uploads",
    "models",
    "mime_types",
    "conversation",
    "stored",
    "last_turn",
    "value",
    "partial",
    "live",
    "error",
    "elapsed_ms",
    "upstream",
    "seen",
    "cancel_calls",
    "cancelled_within_ms",
];

/// All cases, and every fault in their files.
pub(crate) fn all() -> (Vec<Case>, Vec<String>) {
    let folder = place::cases();
    let mut cases = Vec::new();
    let mut faults = Vec::new();
    match fs::read_dir(&folder) {
        Ok(files) => {
            for path in files.flatten().map(|file| file.path()) {
                match read(&path) {
                    Ok(case) => cases.push(case),
                    Err(why) => faults.push(format!("{}: {why}", path.display())),
                }
            }
        }
        Err(error) => faults.push(format!("{}: {error}", folder.display())),
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    (cases, faults)
}

fn read(path: &Path) -> Result<Case, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    if path.extension().is_none_or(|ending| ending != "json") {
        return Err("a case is a .json file".to_owned());
    }
    parse(stem.unwrap_or_default(), &text)
}

/// The case that a text says, or what is wrong with it.
pub(crate) fn parse(name: &str, text: &str) -> Result<Case, String> {
    let mut case: Case = serde_json::from_str(text).map_err(|error| error.to_string())?;
    name.clone_into(&mut case.name);
    let mut faults = Vec::new();
    let named = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    if !name.chars().all(|letter| named(letter) || letter == '-') {
        faults.push("its name has other letters than a-z, 0-9 and -".to_owned());
    }
    let played = case.gateway.played.is_some();
    if played && (case.upstream.is_some() || case.gateway.keys || case.gateway.store) {
        faults.push("a played gateway has no upstream, keys or store".to_owned());
    }
    if case.gateway.cut_after_bytes.is_some() && (played || case.gateway.unix) {
        faults.push("only TCP connections to a real gateway can be cut".to_owned());
    }
    let away = !case.gateway.outages.is_empty();
    if away && (played || case.gateway.unix || case.gateway.cut_after_bytes.is_some()) {
        faults.push("only a real gateway on TCP, which is not cut, has outages".to_owned());
    }
    let known = |what: &str, map: &Map<String, Value>, keys: &[&str], faults: &mut Vec<String>| {
        for key in map.keys().filter(|key| !keys.contains(&key.as_str())) {
            faults.push(format!("unknown key {what}.{key}"));
        }
    };
    let does = case.job.call.get("do").and_then(Value::as_str);
    match CALLS.iter().find(|(name, _)| Some(*name) == does) {
        Some((_, keys)) => known("call", &case.job.call, keys, &mut faults),
        None => faults.push(format!("there is no call {does:?}")),
    }
    known("options", &case.job.options, &OPTIONS, &mut faults);
    known("expect", &case.expect, &EXPECTED, &mut faults);
    for (key, expected) in &case.expect {
        matchers(&format!("expect.{key}"), expected, &mut faults);
    }
    if case.expect.contains_key("cancel_calls") && !played {
        faults.push("only a played gateway has a list of `cancel_calls`".to_owned());
    }
    if case.expect.contains_key("seen") != played {
        faults.push("what a played gateway saw is told as `seen`, and must be judged".to_owned());
    }
    if faults.is_empty() {
        Ok(case)
    } else {
        Err(faults.join("; "))
    }
}

/// An expectation has only matchers that exist, and none beside a plain key.
fn matchers(place: &str, expected: &Value, faults: &mut Vec<String>) {
    match expected {
        Value::Object(fields) => {
            let special = fields.keys().filter(|key| key.starts_with('$'));
            let special: Vec<&String> = special.collect();
            if !special.is_empty() && special.len() < fields.len() {
                faults.push(format!("{place} mixes matchers and keys"));
            }
            for key in special {
                if !MATCHERS.contains(&key.as_str()) {
                    faults.push(format!("{place}: there is no matcher {key}"));
                }
            }
            for (key, value) in fields {
                matchers(&format!("{place}.{key}"), value, faults);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                matchers(&format!("{place}[{at}]"), item, faults);
            }
        }
        _ => {}
    }
}
