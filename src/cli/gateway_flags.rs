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

/// Parses a `--timeout`; zero is refused.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match config::duration(text)? {
        Duration::ZERO => Err("it must be longer than 0s, as in 30s or 5m".to_owned()),
        time => Ok(time),
    }
}
