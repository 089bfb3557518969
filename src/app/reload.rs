//! Reloading of settings at run time, when a file changes or on SIGHUP.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use url::Url;

use crate::config::{ConfigErrors, Loaded, Settings, Source};
use crate::error::Error;
use crate::grpc::router::Router;
use crate::live::LiveSessions;
use crate::relay::Relay;
use crate::telemetry::log::Level;

use super::embedded::Embedded;
use super::module_configs;
use super::upstreams;

/// The interval of checks. The files are small and are read whole: modification times would miss a
/// change within their resolution, and inotify would miss files that are mounted or linked again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The source of new settings at run time.
pub struct Changes {
    /// The settings' sources, and their last known state.
    pub source: Source,
    /// Triggers a reload, as SIGHUP does.
    pub now: Arc<Notify>,
    /// The level of the log, if this process started it.
    pub log: Option<Level>,
}

/// What new settings are applied to.
pub(super) struct Reload {
    pub(super) relay: Relay,
    pub(super) sessions: LiveSessions,
    pub(super) router: Router,
    /// The effective configuration for the admin port.
    pub(super) effective: Arc<RwLock<String>>,
    /// The URL of the emulator, if it was started with the gateway.
    pub(super) embedded: Option<Url>,
    /// The emulator that was started later, when new settings required it.
    pub(super) late: Option<Embedded>,
}

/// Applies new settings as they arrive. Never returns.
pub(super) async fn run(changes: Option<Changes>, mut reload: Reload) {
    let Some(Changes {
        mut source,
        now,
        log,
    }) = changes
    else {
        return std::future::pending().await;
    };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = now.notified() => true,
            _ = looks.tick() => false,
        };
        // A disk that hangs must not block the calls.
        let reading = tokio::task::spawn_blocking(move || {
            let wanted = asked || source.has_changed();
            let loaded = wanted.then(|| source.load());
            (source, loaded)
        });
        let Ok((back, loaded)) = reading.await else {
            // Only a runtime that shuts down cancels a read; a panic in it has been logged.
            return std::future::pending().await;
        };
        source = back;
        if let Some(loaded) = loaded {
            reload.handle(loaded, log.as_ref()).await;
        }
    }
}

impl Reload {
    async fn handle(&mut self, loaded: Result<Loaded, ConfigErrors>, log: Option<&Level>) {
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(errors) => {
                tracing::error!(%errors, "config reload failed, keeping current config");
                return;
            }
        };
        if let Err(error) = self.apply(&loaded.settings).await {
            tracing::error!(%error, "config reload failed, keeping current config");
            return;
        }
        if let Some(log) = log {
            log.set(&loaded.settings.log.level);
        }
        if !loaded.pending_restart.is_empty() {
            let keys = loaded.pending_restart.join(", ");
            tracing::warn!(keys, "changed settings need a restart");
        }
        tracing::info!("config reloaded");
    }

    /// Applies everything or nothing: what can fail comes first.
    async fn apply(&mut self, settings: &Settings) -> Result<(), Error> {
        if Embedded::is_wanted(settings) && self.embedded.is_none() {
            let late = Embedded::start().await?;
            self.embedded = Some(late.base_url.clone());
            self.late = Some(late);
        }
        let accounts = upstreams::accounts(settings, self.embedded.as_ref())?;
        self.relay
            .reconfigure(module_configs::relay_settings(settings), accounts);
        self.sessions
            .reconfigure(module_configs::live_settings(settings));
        self.router
            .reconfigure(module_configs::grpc_settings(settings));
        let mut effective = self
            .effective
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        effective.clone_from(&settings.effective);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::environment::fake::FakeEnvironment;
    use crate::config::setting::{Change, Kind, Setting};
    use crate::config::{Flags, all_settings, load};

    use super::*;

    /// Everything that a change affects, as text.
    fn reached(settings: &Settings) -> String {
        format!(
            "{:?} {:?} {:?} {:?} {:?}",
            module_configs::live_settings(settings),
            module_configs::relay_settings(settings),
            module_configs::grpc_settings(settings),
            settings.upstream,
            settings.log.level,
        )
    }

    /// A valid value other than the default.
    fn other(setting: &Setting) -> String {
        let text = match (setting.key, setting.kind) {
            ("upstream.url", _) => "https://d.example/api/v1",
            ("upstream.region", _) => "us-east-1",
            ("upstream.proxy", _) => "http://p.example:1",
            ("upstream.no_proxy", _) => "a.example",
            ("upstream.tls.ca", _) => "two.pem",
            ("log.level", _) => "trace",
            ("upstream.max_body_bytes", _) => "32MiB",
            ("live.dialects", _) => "m=omni",
            ("timeouts.max", _) => "29m",
            ("timeouts.unary" | "timeouts.stream", _) => "7s",
            (_, Kind::Duration(least, most)) if setting.default == most => least,
            (_, Kind::Duration(_, most)) => most,
            (_, Kind::Size(least, _)) => least,
            (_, Kind::Count(_, most)) => return most.to_string(),
            (_, Kind::Switch) if setting.default == "true" => "false",
            (_, Kind::Switch) => "true",
            (_, Kind::Durations) => "m=7s",
            (_, Kind::Counts) => "m=7",
            (_, Kind::Sizes) => "m=7MiB",
            (_, Kind::Choice(words)) => words.last().copied().unwrap_or_default(),
            (_, _) => "m=n",
        };
        text.to_owned()
    }

    #[test]
    fn every_live_setting_is_applied_to_a_module() {
        let pem = || {
            let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
            certified.unwrap().cert.pem()
        };
        let (one, two) = (pem(), pem() + &pem());
        let world = || {
            FakeEnvironment::default()
                .variable("DASHSCOPE_API_KEY", "sk-canary")
                .variable("DASHGATE_UPSTREAM_TLS_CA", "one.pem")
                .file("one.pem", &one)
                .file("two.pem", &two)
        };
        let flags = Flags::default();
        let before = reached(&load(&flags, &world()).unwrap());
        let live = all_settings::ALL
            .iter()
            .filter(|one| one.change() == Change::Live);
        let mut seen = 0;
        for setting in live {
            // Keys are never shown; their change is tested with real files.
            let is_key = setting.key.contains(".api_key");
            if is_key || setting.key.contains("accounts") {
                continue;
            }
            let world = world().variable(setting.variable, &other(setting));
            let after = load(&flags, &world);
            let after = after.unwrap_or_else(|errors| panic!("{}: {errors}", setting.key));
            assert_ne!(reached(&after), before, "{}", setting.key);
            seen += 1;
        }
        assert!(seen > 30, "{seen}");
    }
}
