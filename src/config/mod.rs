//! The settings: what an operator may decide, with the default of each and its reason.
//!
//! There are two steps from raw to ready. [`raw`] gathers what was typed, a flag above an
//! environment variable above the file; `check` turns it into [`Settings`], which cannot be wrong.
//! All faults are told at once, each with its key, where it came from and how to mend it. The value
//! of a secret is never told, a wrong one neither.
//!
//! This is the only room that reads the environment. [`table`] lists every setting; the reference
//! in `docs/configuration.md` is written from it.

mod accounts;
mod address;
mod callers;
mod callers_table;
mod client;
mod client_table;
pub mod environment;
pub mod error;
mod file;
pub mod layers;
mod memory;
mod models_table;
mod network;
mod reference;
mod region;
mod schema;
mod server;
pub mod setting;
mod setting_reader;
mod settings;
mod source;
pub mod table;
mod telemetry_table;
mod unknown;
mod upstream;
mod validate;
mod value;

pub use self::address::Address;
pub use self::callers::load_keys_file;
pub use self::client::{Client, ClientTls, DefaultModels, color, home, load_client};
pub use self::environment::{Process, Surroundings};
pub use self::error::{Fault, Faults};
pub use self::layers::{Flag, Flags};
pub use self::memory::Memory;
pub use self::reference::markdown;
pub use self::schema::schema;
pub use self::server::{Server, Tls};
pub use self::settings::{
    Account, AccountLimit, Admin, CallerLimits, Callers, Endpoint, Idempotency, Log, LogFormat,
    Models, Retry, Sampler, Settings, Telemetry, Timeouts, Tokens, Upstream,
};
pub use self::source::{Loaded, Source};
pub use self::unknown::{nearest, unknown_variables};

use std::time::Duration;

use self::layers::Raw;

/// Gathers the settings and checks them.
pub fn load(flags: &Flags, around: &dyn Surroundings) -> Result<Settings, Faults> {
    source::ready(&Raw::gather(flags, around), around)
}

/// What is in force, a line for each setting, and where it came from. Secrets are hidden.
pub fn show(flags: &Flags, around: &dyn Surroundings) -> Result<String, Faults> {
    load(flags, around).map(|settings| settings.effective)
}

/// A span of time as settings write it, `30s`. The fault says what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::duration(text).map_err(|wrong| format!("{}; {}", wrong.problem, wrong.mend))
}

#[cfg(test)]
mod tests {
    use super::environment::fake::Fake;
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Flags {
        pairs.iter().fold(Flags::default(), |flags, (key, value)| {
            flags.with("--set", key, Some(*value))
        })
    }

    fn faults(flags: &Flags, around: &Fake) -> String {
        load(flags, around).unwrap_err().to_string()
    }

    #[test]
    fn every_default_passes_its_own_check() {
        let settings = load(&Flags::default(), &Fake::default()).unwrap();
        assert_eq!(settings.server.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(settings.server.max_request_bytes, 16 << 20);
        assert_eq!(settings.timeouts.unary, Duration::from_secs(120));
        assert_eq!(settings.upstream.endpoint, Endpoint::Embedded);
        assert_eq!(settings.retry.max_attempts, 3);
        assert_eq!(settings.log.format, LogFormat::Auto);
        for setting in table::ALL.iter().filter(|s| !s.default.is_empty()) {
            let flags = flags(&[(setting.key, setting.default)]);
            assert!(load(&flags, &Fake::default()).is_ok(), "{}", setting.key);
        }
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n";
        let key = "DASHGATE_SERVER_LISTEN";
        let config = Flags {
            config: Some("d.toml".into()),
            ..Flags::default()
        };
        let world = || Fake::default().file("d.toml", file);
        let listen =
            |flags: &Flags, around: &Fake| load(flags, around).unwrap().server.listen.to_string();
        assert_eq!(listen(&Flags::default(), &world()), "127.0.0.1:50051");
        assert_eq!(listen(&config, &world()), "127.0.0.1:1");
        let named = world().variable("DASHGATE_CONFIG", "d.toml");
        assert_eq!(listen(&Flags::default(), &named), "127.0.0.1:1");
        let world = named.variable(key, "127.0.0.1:2");
        assert_eq!(listen(&config, &world), "127.0.0.1:2");
        let typed = config.with("--listen", "server.listen", Some("127.0.0.1:3"));
        assert_eq!(listen(&typed, &world), "127.0.0.1:3");
        let empty = Fake::default().file("d.toml", file).variable(key, "");
        assert_eq!(listen(&typed, &empty), "127.0.0.1:3");
    }

    #[test]
    fn all_faults_are_told_at_once_with_key_origin_and_mend() {
        let around = Fake::default()
            .file("d.toml", "[retry]\nmax_attempts = 99\n[sever]\nx = 1\n")
            .variable("DASHGATE_TIMEOUTS_IDLE", "soon")
            .variable("DASHGATE_LOG", "\u{fffd}");
        let flags = Flags {
            config: Some("d.toml".into()),
            ..flags(&[("server.listen", "here"), ("nothing.such", "1")])
        };
        let told = faults(&flags, &around);
        for expected in [
            "6 errors",
            "server.listen (flag --set): \"here\": it is not an address; write",
            "nothing.such (flag --set): there is no such setting",
            "sever.x (file d.toml): there is no such setting",
            "retry.max_attempts (file d.toml): \"99\": it is out of range; write 1 to 10",
            "timeouts.idle (variable DASHGATE_TIMEOUTS_IDLE): \"soon\"",
            "log.level (variable DASHGATE_LOG): it is not UTF-8",
        ] {
            assert!(told.contains(expected), "{expected}\nin\n{told}");
        }
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let canary = "sk-canary with spaces";
        let keys = ["DASHSCOPE_API_KEY", "DASHGATE_API_KEY"];
        for key in keys {
            let value = format!("{canary}\u{e9}");
            let around = Fake::default().variable(key, &value);
            assert!(
                !faults(&Flags::default(), &around).contains("canary"),
                "{key}"
            );
        }
        let around = Fake::default()
            .variable("DASHSCOPE_API_KEY_FILE_PATH", "key")
            .file("key", canary);
        assert!(!faults(&Flags::default(), &around).contains("canary"));
        let flag = flags(&[("upstream.api_key", canary)]);
        assert!(!faults(&flag, &Fake::default()).contains("canary"));
        let url = flags(&[("upstream.url", "https://canary@host/")]);
        assert!(!faults(&url, &Fake::default()).contains("canary"));
        let good = Fake::default().variable(keys[0], "sk-canary");
        let settings = load(&Flags::default(), &good).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
        let shown = show(&Flags::default(), &good).unwrap();
        assert!(
            !shown.contains("canary") && shown.contains("****"),
            "{shown}"
        );
    }

    #[test]
    fn a_default_of_the_command_is_below_all_that_is_typed() {
        let quiet = Flags {
            defaults: vec![("log.level", "warn")],
            ..Flags::default()
        };
        let level = |around: &Fake| load(&quiet, around).unwrap().log.level;
        assert_eq!(level(&Fake::default()), "warn");
        let typed = Fake::default().variable("DASHGATE_LOG", "debug");
        assert_eq!(level(&typed), "debug");
    }

    #[test]
    fn the_endpoint_follows_from_key_url_and_region() {
        let endpoint = |flags: &Flags, around: &Fake| {
            load(flags, around).map(|settings| match settings.upstream.endpoint {
                Endpoint::Embedded => "embedded".to_owned(),
                Endpoint::Remote { base_url, api_key } => {
                    format!("{} {base_url}", api_key.expose())
                }
            })
        };
        let key = || Fake::default().variable("DASHSCOPE_API_KEY", "sk-1");
        let none = Flags::default();
        let beijing = "https://dashscope.aliyuncs.com/api/v1";
        assert_eq!(endpoint(&none, &key()).unwrap(), format!("sk-1 {beijing}"));
        let embedded = flags(&[("upstream.url", "embedded")]);
        assert_eq!(endpoint(&embedded, &key()).unwrap(), "embedded");
        let home = Fake::default()
            .variable("HOME", "/users/a")
            .file("/users/a/.dashscope/api_key", "sk-home\n");
        assert_eq!(
            endpoint(&none, &home).unwrap(),
            format!("sk-home {beijing}")
        );
        let region = key().variable("DASHSCOPE_API_REGION", "eu-central-1");
        let told = endpoint(&none, &region).unwrap_err().to_string();
        assert!(told.contains("DASHSCOPE_WORKSPACE_ID"), "{told}");
        let workspace = region.variable("DASHSCOPE_WORKSPACE_ID", "ws-9");
        assert_eq!(
            endpoint(&none, &workspace).unwrap(),
            "sk-1 https://ws-9.eu-central-1.maas.aliyuncs.com/api/v1"
        );
        let keyless = flags(&[("upstream.url", "http://127.0.0.1:8089/api/v1")]);
        let told = endpoint(&keyless, &Fake::default())
            .unwrap_err()
            .to_string();
        assert!(told.contains("but no key"), "{told}");
    }

    #[test]
    fn a_key_file_of_the_environment_wins_over_a_key_of_the_file() {
        let around = Fake::default()
            .file("d.toml", "[upstream]\napi_key = \"sk-low\"\n")
            .file("key", "sk-high")
            .variable("DASHGATE_CONFIG", "d.toml")
            .variable("DASHSCOPE_API_KEY_FILE_PATH", "key");
        let read = |around: &Fake| match load(&Flags::default(), around) {
            Ok(Settings {
                upstream:
                    Upstream {
                        endpoint: Endpoint::Remote { api_key, .. },
                        ..
                    },
                ..
            }) => api_key.expose().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(&around), "sk-high");
        let around = around.variable("DASHSCOPE_API_KEY", "sk-highest");
        assert_eq!(read(&around), "sk-highest");
    }

    #[test]
    fn a_default_gives_way_to_the_cap_and_a_typed_value_does_not() {
        let capped = flags(&[("timeouts.max", "60s")]);
        let settings = load(&capped, &Fake::default()).unwrap();
        assert_eq!(settings.timeouts.stream, Duration::from_secs(60));
        let clash = capped.with("--set", "timeouts.unary", Some("61s"));
        assert!(faults(&clash, &Fake::default()).contains("more than timeouts.max"));
    }

    #[test]
    fn the_drain_delay_is_for_addresses_that_others_reach() {
        let delay = |pairs: &[(&str, &str)]| {
            let flags = flags(pairs).with("--set", "callers.allow_anyone", Some("true"));
            let settings = load(&flags, &Fake::default()).unwrap();
            settings.server.drain_delay.as_secs()
        };
        assert_eq!(delay(&[]), 0);
        assert_eq!(delay(&[("server.listen", "0.0.0.0:1")]), 5);
        assert_eq!(delay(&[("server.drain_delay", "7s")]), 7);
    }

    #[test]
    fn no_color_and_a_dumb_terminal_are_respected() {
        assert!(color(&Fake::default()));
        assert!(!color(&Fake::default().variable("NO_COLOR", "1")));
        assert!(!color(&Fake::default().variable("TERM", "dumb")));
    }

    #[test]
    fn a_client_does_not_mind_faults_of_the_server() {
        let around = Fake::default()
            .variable("DASHGATE_SERVER_LISTEN", "wrong")
            .variable("DASHGATE_ADDR", "host:1");
        let client = load_client(&Flags::default(), &around).unwrap();
        assert_eq!(client.server.as_deref(), Some("host:1"));
        assert!(load(&Flags::default(), &around).is_err());
    }
}
