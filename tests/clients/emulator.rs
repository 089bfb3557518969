//! The DashScope behind the gateway of one case: in this process, because the suite starts
//! thousands of them, until it is dropped.

use dashgate::emulator::{EmulatorConfig, Script, serve};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::http_get::fetch;
use super::play::runtime;

/// A running emulator.
pub(crate) struct Emulator {
    address: String,
    /// Its end, when it is dropped.
    _stop: oneshot::Sender<()>,
}

impl Emulator {
    /// One that answers by itself, or by a script.
    pub(crate) fn start(script: Option<&Value>) -> Result<Self, String> {
        let script = match script {
            Some(script) => {
                Script::parse(&script.to_string()).map_err(|error| error.to_string())?
            }
            None => Script::default(),
        };
        let settings = EmulatorConfig {
            script,
            ..EmulatorConfig::default()
        };
        runtime()?
            .block_on(Self::serve(settings))
            .map_err(|error| format!("the emulator: {error}"))
    }

    async fn serve(settings: EmulatorConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            // The sender is dropped, and sends nothing.
            let _dropped = stopped.await;
        };
        tokio::spawn(serve(listener, settings, shutdown));
        Ok(Self {
            address,
            _stop: stop,
        })
    }

    /// The base URL of its API.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// The generations and uploads that it has recorded.
    pub(crate) fn journal(&self) -> Result<Vec<Value>, String> {
        let text = fetch(&self.address, "/emulator/journal")?;
        let mut journal: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let requests = journal.get_mut("requests").map(Value::take);
        let Some(Value::Array(requests)) = requests else {
            return Err(format!("no journal: {text}"));
        };
        let is_recorded = |request: &Value| {
            let path = request
                .get("path")
                .and_then(Value::as_str)
                .unwrap_or_default();
            path.ends_with("/generation") || path.contains("/uploads") || path == "/oss"
        };
        Ok(requests.into_iter().filter(is_recorded).collect())
    }
}
