//! Configuration: every setting with its default and the reason for the default.
//!
//! It is read in two steps. [`layers`] collects the configured values: flags override environment
//! variables, which override the file. [`validate`] converts them to [`Settings`], which are valid.
//! All errors are reported at once, each with the key, the source and how to fix it. Values of
//! secrets are never shown, not even invalid ones.
//!
//! No other module reads the environment. [`table`] lists every setting; the reference in
//! `docs/configuration.md` is generated from it.

mod accounts;
mod address;
pub mod all_settings;
mod callers;
mod callers_table;
mod client;
mod client_table;
mod endpoint;
pub mod environment;
pub mod error;
mod file;
pub mod layers;
mod live_table;
mod memory;
mod models_table;
mod network;
mod openai;
mod reference;
mod region;
mod schema;
mod server;
mod server_table;
pub mod setting;
mod setting_reader;
mod settings;
mod source;
mod store;
mod store_table;
mod telemetry_table;
mod timeouts_table;
mod unknown;
mod upstream;
mod upstream_table;
mod validate;
mod value;

pub use self::address::Address;
pub use self::callers::load_keys_file;
pub use self::client::{Client, ClientTls, DefaultModels, color, home, load_client};
pub use self::environment::{Environment, ProcessEnvironment};
pub use self::error::{ConfigError, ConfigErrors};
pub use self::layers::{Flag, Flags};
pub use self::memory::Memory;
pub use self::reference::markdown;
pub use self::schema::schema;
pub use self::server::{Server, Tls};
pub use self::settings::{
    Account, AccountLimit, Admin, CallerLimits, Callers, Endpoint, Idempotency, Live, Log,
    LogFormat, Models, Retry, Sampler, ServerKind, Settings, Telemetry, Timeouts, TokenSettings,
    Upstream,
};
pub use self::source::{Loaded, Source};
pub use self::store::{LimitsWhenDown, StoreSettings, load_store};
pub use self::unknown::{nearest, unknown_variables};

use std::time::Duration;

use self::layers::RawSettings;

/// Reads and validates the settings.
pub fn load(flags: &Flags, environment: &dyn Environment) -> Result<Settings, ConfigErrors> {
    source::ready(&RawSettings::gather(flags, environment), environment)
}

/// The effective configuration: a line for each setting with its source. Secrets are hidden.
pub fn show(flags: &Flags, environment: &dyn Environment) -> Result<String, ConfigErrors> {
    load(flags, environment).map(|settings| settings.effective)
}

/// Parses a duration as in settings, `30s`. The error says how to fix it.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::duration(text).map_err(|wrong| format!("{}; {}", wrong.problem, wrong.fix))
}

#[cfg(test)]
mod tests {
    use super::environment::fake::FakeEnvironment;
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Flags {
        pairs.iter().fold(Flags::default(), |flags, (key, value)| {
            flags.with("--set", key, Some(*value))
        })
    }

    fn errors(flags: &Flags, environment: &FakeEnvironment) -> String {
        load(flags, environment).unwrap_err().to_string()
    }

    #[test]
    fn every_default_is_valid() {
        let settings = load(&Flags::default(), &FakeEnvironment::default()).unwrap();
        assert_eq!(settings.server.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(settings.server.max_request_bytes, 16 << 20);
        assert_eq!(settings.timeouts.unary, Duration::from_secs(120));
        assert_eq!(settings.upstream.endpoint, Endpoint::Embedded);
        assert_eq!(settings.retry.max_attempts, 3);
        assert_eq!(settings.log.format, LogFormat::Auto);
        for setting in all_settings::ALL.iter().filter(|s| !s.default.is_empty()) {
            let flags = flags(&[(setting.key, setting.default)]);
            assert!(
                load(&flags, &FakeEnvironment::default()).is_ok(),
                "{}",
                setting.key
            );
        }
    }

    #[test]
    fn flags_override_variables_which_override_the_file() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n";
        let key = "DASHGATE_SERVER_LISTEN";
        let config = Flags {
            config: Some("d.toml".into()),
            ..Flags::default()
        };
        let environment = || FakeEnvironment::default().file("d.toml", file);
        let listen = |flags: &Flags, environment: &FakeEnvironment| {
            load(flags, environment).unwrap().server.listen.to_string()
        };
        assert_eq!(listen(&Flags::default(), &environment()), "127.0.0.1:50051");
        assert_eq!(listen(&config, &environment()), "127.0.0.1:1");
        let configured_names = environment().variable("DASHGATE_CONFIG", "d.toml");
        assert_eq!(listen(&Flags::default(), &configured_names), "127.0.0.1:1");
        let environment = configured_names.variable(key, "127.0.0.1:2");
        assert_eq!(listen(&config, &environment), "127.0.0.1:2");
        let configured = config.with("--listen", "server.listen", Some("127.0.0.1:3"));
        assert_eq!(listen(&configured, &environment), "127.0.0.1:3");
        let empty = FakeEnvironment::default()
            .file("d.toml", file)
            .variable(key, "");
        assert_eq!(listen(&configured, &empty), "127.0.0.1:3");
    }

    #[test]
    fn all_errors_are_reported_with_key_source_and_fix() {
        let environment = FakeEnvironment::default()
            .file("d.toml", "[retry]\nmax_attempts = 99\n[sever]\nx = 1\n")
            .variable("DASHGATE_TIMEOUTS_IDLE", "soon")
            .variable("DASHGATE_LOG", "\u{fffd}");
        let flags = Flags {
            config: Some("d.toml".into()),
            ..flags(&[("server.listen", "here"), ("nothing.such", "1")])
        };
        let told = errors(&flags, &environment);
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
    fn secrets_are_never_shown() {
        let canary = "sk-canary with spaces";
        let keys = ["DASHSCOPE_API_KEY", "DASHGATE_API_KEY"];
        for key in keys {
            let value = format!("{canary}\u{e9}");
            let environment = FakeEnvironment::default().variable(key, &value);
            assert!(
                !errors(&Flags::default(), &environment).contains("canary"),
                "{key}"
            );
        }
        let environment = FakeEnvironment::default()
            .variable("DASHSCOPE_API_KEY_FILE_PATH", "key")
            .file("key", canary);
        assert!(!errors(&Flags::default(), &environment).contains("canary"));
        let flag = flags(&[("upstream.api_key", canary)]);
        assert!(!errors(&flag, &FakeEnvironment::default()).contains("canary"));
        let url = flags(&[("upstream.url", "https://canary@host/")]);
        assert!(!errors(&url, &FakeEnvironment::default()).contains("canary"));
        let good = FakeEnvironment::default().variable(keys[0], "sk-canary");
        let settings = load(&Flags::default(), &good).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
        let shown = show(&Flags::default(), &good).unwrap();
        assert!(
            !shown.contains("canary") && shown.contains("****"),
            "{shown}"
        );
    }

    #[test]
    fn configured_values_override_defaults_of_the_command() {
        let quiet = Flags {
            defaults: vec![("log.level", "warn")],
            ..Flags::default()
        };
        let level = |environment: &FakeEnvironment| load(&quiet, environment).unwrap().log.level;
        assert_eq!(level(&FakeEnvironment::default()), "warn");
        let configured = FakeEnvironment::default().variable("DASHGATE_LOG", "debug");
        assert_eq!(level(&configured), "debug");
    }

    #[test]
    fn the_endpoint_depends_on_key_url_and_region() {
        let endpoint = |flags: &Flags, environment: &FakeEnvironment| {
            load(flags, environment).map(|settings| match settings.upstream.endpoint {
                Endpoint::Embedded => "embedded".to_owned(),
                Endpoint::Remote { base_url, api_key } => {
                    format!("{} {base_url}", api_key.expose())
                }
                Endpoint::OpenAi {
                    kind,
                    base_url,
                    api_key,
                } => {
                    let key = api_key
                        .as_ref()
                        .map_or("none", crate::secret::Secret::expose);
                    format!("{key} {}:{base_url}", kind.name())
                }
            })
        };
        let key = || FakeEnvironment::default().variable("DASHSCOPE_API_KEY", "sk-1");
        let none = Flags::default();
        let beijing = "https://dashscope.aliyuncs.com/api/v1";
        assert_eq!(endpoint(&none, &key()).unwrap(), format!("sk-1 {beijing}"));
        let compatible = "dashscope-compatible:https://d.example/compatible-mode/v1";
        let compatible = flags(&[("upstream.url", compatible)]);
        let found = endpoint(&compatible, &key()).unwrap();
        assert!(found.starts_with("sk-1 dashscope-compatible:"), "{found}");
        let keyless = endpoint(&compatible, &FakeEnvironment::default()).unwrap_err();
        assert!(keyless.to_string().contains("but no key"), "{keyless}");
        // DashScope's key is not that of another server.
        let vllm = flags(&[("upstream.url", "vllm:http://127.0.0.1:8000/v1")]);
        let found = endpoint(&vllm, &key()).unwrap();
        assert_eq!(found, "none vllm:http://127.0.0.1:8000/v1");
        let own = key().variable("DASHGATE_UPSTREAM_OPENAI_API_KEY", "own-1");
        let found = endpoint(&vllm, &own).unwrap();
        assert_eq!(found, "own-1 vllm:http://127.0.0.1:8000/v1");
        let embedded = flags(&[("upstream.url", "embedded")]);
        assert_eq!(endpoint(&embedded, &key()).unwrap(), "embedded");
        let home = FakeEnvironment::default()
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
        let told = endpoint(&keyless, &FakeEnvironment::default())
            .unwrap_err()
            .to_string();
        assert!(told.contains("but no key"), "{told}");
    }

    #[test]
    fn a_key_file_from_the_environment_overrides_a_key_from_the_file() {
        let environment = FakeEnvironment::default()
            .file("d.toml", "[upstream]\napi_key = \"sk-low\"\n")
            .file("key", "sk-high")
            .variable("DASHGATE_CONFIG", "d.toml")
            .variable("DASHSCOPE_API_KEY_FILE_PATH", "key");
        let read = |environment: &FakeEnvironment| match load(&Flags::default(), environment) {
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
        assert_eq!(read(&environment), "sk-high");
        let environment = environment.variable("DASHSCOPE_API_KEY", "sk-highest");
        assert_eq!(read(&environment), "sk-highest");
    }

    #[test]
    fn a_default_is_lowered_to_the_maximum_and_a_configured_value_is_refused() {
        let capped = flags(&[("timeouts.max", "60s")]);
        let settings = load(&capped, &FakeEnvironment::default()).unwrap();
        assert_eq!(settings.timeouts.stream, Duration::from_secs(60));
        let clash = capped.with("--set", "timeouts.unary", Some("61s"));
        assert!(errors(&clash, &FakeEnvironment::default()).contains("more than timeouts.max"));
    }

    #[test]
    fn the_drain_delay_defaults_to_zero_on_loopback() {
        let delay = |pairs: &[(&str, &str)]| {
            let flags = flags(pairs).with("--set", "callers.allow_anyone", Some("true"));
            let settings = load(&flags, &FakeEnvironment::default()).unwrap();
            settings.server.drain_delay.as_secs()
        };
        assert_eq!(delay(&[]), 0);
        assert_eq!(delay(&[("server.listen", "0.0.0.0:1")]), 5);
        assert_eq!(delay(&[("server.drain_delay", "7s")]), 7);
    }

    #[test]
    fn no_color_and_a_dumb_terminal_are_respected() {
        assert!(color(&FakeEnvironment::default()));
        assert!(!color(
            &FakeEnvironment::default().variable("NO_COLOR", "1")
        ));
        assert!(!color(&FakeEnvironment::default().variable("TERM", "dumb")));
    }

    #[test]
    fn client_settings_load_despite_errors_of_the_server() {
        let environment = FakeEnvironment::default()
            .variable("DASHGATE_SERVER_LISTEN", "wrong")
            .variable("DASHGATE_ADDR", "host:1");
        let client = load_client(&Flags::default(), &environment).unwrap();
        assert_eq!(client.server.as_deref(), Some("host:1"));
        assert!(load(&Flags::default(), &environment).is_err());
    }
}
