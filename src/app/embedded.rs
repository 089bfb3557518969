//! The emulator in this process.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

use crate::config::{Endpoint, Settings};
use crate::emulator;
use crate::error::{Error, Reason};

use super::upstreams;

/// The emulator in this process. Dropping it stops it.
pub(super) struct Embedded {
    /// Its base URL.
    pub(super) base_url: Url,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Embedded {
    /// Whether these settings use the emulator.
    pub(super) fn is_wanted(settings: &Settings) -> bool {
        let upstream = &settings.upstream;
        upstream.accounts.is_empty() && upstream.endpoint == Endpoint::Embedded
    }

    /// Starts it on a free loopback port.
    pub(super) async fn start() -> Result<Self, Error> {
        let broken = |error: io::Error| {
            let message = "embedded emulator: cannot listen";
            Error::new(Reason::GatewayConfig, message).with_source(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(broken)?;
        let address = listener.local_addr().map_err(broken)?;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = emulator::serve(listener, emulator::EmulatorConfig::default(), shutdown);
        let base_url = upstreams::base_url(&format!("http://{address}/api/v1"))?;
        Ok(Self {
            base_url,
            stop,
            task: tokio::spawn(server),
        })
    }

    /// Stops it, and waits until it has ended.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
