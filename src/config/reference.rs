//! The table as text: the reference for people, and what is in force now.

use std::fmt::Write as _;
use std::time::Duration;

use super::fault::Origin;
use super::network;
use super::raw::Raw;
use super::setting::{Change, Kind, Setting};
use super::settings::{Endpoint, Settings};
use super::surroundings::Surroundings;
use super::table::ALL;

/// What stands above the tables.
const PREFACE: &str = r#"# Settings

A setting can be given in a file (TOML, `--config FILE` or `DASHGATE_CONFIG`), as an environment
variable, or as a flag. A flag wins over a variable, a variable over the file. Every setting but a
secret can be given as `--set KEY=VALUE`. An empty value means not set. All faults are told at once:
try `dashgate config check`. `dashgate config show` prints what is in force, and where it came from.

Durations are written `250ms`, `30s`, `10m`, `24h`; sizes `512KiB`, `16MiB`, `1GiB` or plain bytes.
In a variable, a list is `a,b`, a table `a=b,c=d`, and a table of lists `a=b|c,d=e`. In the file
they are TOML's lists and tables:

```toml
[server]
listen = "0.0.0.0:50051"

[callers]
keys_file = "/etc/dashgate/keys.toml"

[models.aliases]
qwen-audio-turbo = "qwen3-omni-flash"

[models.fallbacks]
qwen3-omni-flash = ["qwen3-vl-plus"]

[telemetry.rates]
qwen3-omni-flash = [1.8, 6.9]
```

Settings are read again on SIGHUP, and within three seconds when a file that they came from changes:
the file of settings, `upstream.accounts_file`, `upstream.tls.ca` and files of DashScope's keys. A
file of settings that is empty now and was not at the start is wrong: the defaults would send calls
to another host. A setting that is
`live` then holds for the calls that come next; calls in flight keep what they began with. One that
needs a `restart` stays as it was, and the log names it. If anything is wrong, all stays as it was,
and the log tells every fault. Variables and flags cannot change while the gateway runs. The files
that `callers.*` and `server.tls.*` name are read again by themselves when they change.

`dashgate config schema` prints a [JSON Schema](config.schema.json) of the file, for editors.

This page is written by `dashgate config reference`.
"#;

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let mut text = PREFACE.to_owned();
    let mut section = "";
    for setting in ALL {
        let name = setting.key.split('.').next().unwrap_or_default();
        if name != section {
            section = name;
            let _ = write!(
                text,
                "\n## {section}\n\n\
                 | Key | Variable | Flag | Takes | Default | Change | Meaning and reason |\n\
                 |---|---|---|---|---|---|---|\n"
            );
        }
        text.push_str(&row(setting));
    }
    text
}

/// A line for each setting that is in force, and where it came from. Secrets are hidden.
pub(crate) fn listing(raw: &Raw, settings: &Settings, around: &dyn Surroundings) -> String {
    let mut text = String::new();
    for setting in ALL {
        let typed = raw.value(setting);
        let (value, origin) = match derived(setting.key, settings, around) {
            Some(derived) if typed.origin == Origin::Default => derived,
            // What it comes to is shown: as it was typed it may hold a password.
            Some((proxy, _)) if setting.kind == Kind::Url => (proxy, typed.origin.to_string()),
            Some(_) | None => (shown(setting.kind, typed.text), typed.origin.to_string()),
        };
        let _ = writeln!(text, "{} = {value}  # {origin}", setting.key);
    }
    text
}

/// The value of a setting whose default follows from others.
fn derived(key: &str, settings: &Settings, around: &dyn Surroundings) -> Option<(String, String)> {
    match key {
        "server.drain_delay" => {
            let delay = settings.server.drain_delay.as_secs();
            Some((format!("{delay}s"), "default for this address".to_owned()))
        }
        "memory.limit" => {
            let mebibytes = settings.memory.limit >> 20;
            Some((format!("{mebibytes}MiB"), settings.memory.source.to_owned()))
        }
        "timeouts.unary" => Some(span(settings.timeouts.unary)),
        "timeouts.stream" => Some(span(settings.timeouts.stream)),
        "upstream.proxy" => {
            let shown = network::shown(&settings.upstream.network);
            Some((shown, network::proxy_origin(around)))
        }
        "upstream.no_proxy" => network::no_proxy(around),
        "upstream.url" if !settings.upstream.accounts.is_empty() => {
            let names = settings.upstream.accounts.iter().map(|a| a.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            Some((names, "by upstream.accounts_file".to_owned()))
        }
        "upstream.url" => Some(match &settings.upstream.endpoint {
            Endpoint::Embedded => ("embedded".to_owned(), "there is no key".to_owned()),
            Endpoint::Remote { base_url, .. } => (base_url.clone(), "by key and region".to_owned()),
        }),
        _ => None,
    }
}

fn span(span: Duration) -> (String, String) {
    (format!("{span:?}"), Origin::Default.to_string())
}

fn shown(kind: Kind, text: String) -> String {
    match (kind, text.is_empty()) {
        (_, true) => "(not set)".to_owned(),
        (Kind::Secret | Kind::Url, false) => "****".to_owned(),
        (_, false) => text,
    }
}

fn row(setting: &Setting) -> String {
    let flag = match setting.flag {
        Some(flag) => format!("`{flag}`"),
        None => String::new(),
    };
    let default = match setting.default {
        "" => "not set".to_owned(),
        default => format!("`{default}`"),
    };
    format!(
        "| `{}` | `{}` | {flag} | {} | {default} | {} | {} {} |\n",
        setting.key,
        setting.variable,
        takes(setting.kind),
        change(setting.change()),
        setting.meaning.replace('|', "\\|"),
        setting.reason.replace('|', "\\|"),
    )
}

fn change(change: Change) -> &'static str {
    match change {
        Change::Live => "live",
        Change::Restart => "restart",
        Change::EachRun => "each run",
    }
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Address => "address".to_owned(),
        Kind::Duration(least, most) => format!("duration, {least} to {most}"),
        Kind::Size(least, most) => format!("size, {least} to {most}"),
        Kind::Count(least, most) => format!("number, {least} to {most}"),
        Kind::Switch => "`true` or `false`".to_owned(),
        Kind::Choice(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
        Kind::Text => "text".to_owned(),
        Kind::Secret => "secret text".to_owned(),
        Kind::Url => "URL, or a word".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Names => "list".to_owned(),
        Kind::Aliases => "table".to_owned(),
        Kind::Fallbacks => "table of lists".to_owned(),
        Kind::Durations => "table of durations".to_owned(),
        Kind::Counts => "table of numbers".to_owned(),
        Kind::Sizes => "table of sizes".to_owned(),
        Kind::Rates => "table of prices".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_what_the_table_says() {
        let page = include_str!("../../docs/configuration.md");
        assert!(
            page == super::markdown(),
            "write it anew: cargo run -- config reference > docs/configuration.md"
        );
    }
}
