//! Flags for settings that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{self, Flag, Flags};

/// Sources of settings other than the environment.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Choices {
    /// The settings file (TOML); variables and flags override it [env: DASHGATE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, for example `--set timeouts.idle=90s`; `dashgate config reference` lists all
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl Choices {
    /// Converts to the form of the settings.
    pub(crate) fn flags(&self) -> Flags {
        let single = self.set.iter().map(|(key, value)| Flag {
            name: "--set".to_owned(),
            key: key.clone(),
            value: value.clone(),
        });
        Flags {
            config: self.config.clone(),
            set: single.collect(),
            defaults: Vec::new(),
        }
    }
}

// The error does not contain the value, which may be a key given by mistake.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err("write KEY=VALUE".to_owned()),
    }
}

/// The gateway that a live command calls.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Remote {
    /// The gateway: host:port, http://host:port, https://host:port or unix:/path. Its key is
    /// DASHGATE_API_KEY [default: a gateway in this process] [env: DASHGATE_ADDR]
    #[arg(long, alias = "gateway", value_name = "ADDR")]
    server: Option<String>,
    /// The root certificates for https, as a PEM file [default: the system's]
    /// [env: DASHGATE_TLS_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// The deadline of the session, for example 30s or 5m [default: the gateway's]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    choices: Choices,
}

impl Remote {
    /// Converts to the form of the settings, for this command.
    pub(crate) fn flags(&self, command: &str) -> Flags {
        let mut flags = self
            .choices
            .flags()
            .with("--server", "client.server", self.server.as_deref())
            .with("--tls-ca", "client.tls.ca", self.tls_ca.as_deref())
            // The gateway of this process is private, whatever the settings say.
            .with(command, "server.listen", Some("127.0.0.1:0"));
        // Failures are part of the output; the log would repeat them.
        flags.defaults.push(("log.level", "off"));
        // DashScope's message may only repeat this user's own content.
        flags.defaults.push(("upstream.show_messages", "true"));
        flags
    }
}

/// Parses a `--timeout`; zero is refused.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match config::duration(text)? {
        Duration::ZERO => Err("it must be longer than 0s, as in 30s or 5m".to_owned()),
        time => Ok(time),
    }
}
