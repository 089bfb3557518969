//! A TCP proxy whose gateway goes away for a while, as a rollout or a broken network takes it away.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use super::server::Server;

/// A time without a gateway.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    /// When it begins, after the first connection of the client.
    after_ms: u64,
    /// How long it lasts.
    ms: u64,
    /// Whether the gateway's process is killed, and another one started at its end.
    #[serde(default)]
    kill: bool,
    /// Whether connections are taken and never answered, instead of closed.
    #[serde(default)]
    silent: bool,
}

/// What a connection meets.
#[derive(Clone)]
enum Meets {
    Gateway(String),
    Closed,
    Silence,
}

/// Starts another gateway like the first one.
pub(crate) type Restart = Arc<dyn Fn() -> Result<Server, String> + Send + Sync>;

/// The gateway behind a proxy: another one after each outage that killed it.
pub(crate) type Behind = Arc<Mutex<Option<Server>>>;

/// A running proxy. It ends when it is dropped.
pub(crate) struct OutageProxy {
    address: SocketAddr,
    behind: Behind,
    tasks: [JoinHandle<()>; 2],
}

impl OutageProxy {
    /// Listens in front of this gateway.
    pub(crate) async fn start(
        gateway: Server,
        outages: Vec<Outage>,
        restart: Restart,
    ) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let target = gateway.address().to_owned();
        let (up, is_up) = watch::channel(Meets::Gateway(target));
        let behind = Arc::new(Mutex::new(Some(gateway)));
        let first = Arc::new(Notify::new());
        let plan = go_through(
            outages,
            Arc::clone(&first),
            up,
            Arc::clone(&behind),
            restart,
        );
        let accept = async move {
            while let Ok((client, _)) = listener.accept().await {
                first.notify_one();
                tokio::spawn(connection(client, is_up.clone()));
            }
        };
        let tasks = [tokio::spawn(plan), tokio::spawn(accept)];
        Ok(Self {
            address,
            behind,
            tasks,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// What the gateway wrote, or why there is none.
    pub(crate) fn log(&self) -> String {
        lock(&self.behind)
            .as_ref()
            .map_or_else(|| "there is no gateway".to_owned(), Server::log)
    }
}

impl Drop for OutageProxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // Here, and not with the tasks: those of a process that ends are never dropped. A gateway
        // that is starting is waited for.
        drop(lock(&self.behind).take());
    }
}

async fn go_through(
    outages: Vec<Outage>,
    first: Arc<Notify>,
    up: watch::Sender<Meets>,
    behind: Behind,
    restart: Restart,
) {
    if outages.iter().all(|outage| outage.after_ms > 0) {
        first.notified().await;
    }
    let began = Instant::now();
    for outage in outages {
        sleep_until(began + Duration::from_millis(outage.after_ms)).await;
        let before = up.send_replace(match outage.silent {
            true => Meets::Silence,
            false => Meets::Closed,
        });
        if outage.after_ms == 0 {
            first.notified().await;
        }
        if outage.kill {
            let gone = lock(&behind).take();
            // It is killed when it is dropped, which takes a moment.
            drop(spawn_blocking(move || drop(gone)).await);
        }
        sleep(Duration::from_millis(outage.ms)).await;
        let after = match outage.kill {
            true => {
                let (restart, behind) = (Arc::clone(&restart), Arc::clone(&behind));
                let started = spawn_blocking(move || {
                    let mut behind = lock(&behind);
                    let server = restart()?;
                    let address = server.address().to_owned();
                    *behind = Some(server);
                    Ok::<_, String>(address)
                });
                match started.await {
                    Ok(Ok(address)) => Meets::Gateway(address),
                    _ => return,
                }
            }
            false => before,
        };
        up.send_replace(after);
    }
    // The connections end with the last address.
    std::future::pending::<()>().await;
}

fn lock(behind: &Behind) -> MutexGuard<'_, Option<Server>> {
    behind.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on what comes, until the gateway behind it is gone.
async fn connection(mut client: TcpStream, mut up: watch::Receiver<Meets>) {
    let meets = up.borrow_and_update().clone();
    let target = match meets {
        Meets::Gateway(target) => target,
        Meets::Closed => return,
        Meets::Silence => {
            // It is closed when the gateway is back.
            let _back = up.changed().await;
            return;
        }
    };
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        // How it ends is seen by both sides.
        _ended = copy_bidirectional(&mut client, &mut server) => {}
        _gone = up.changed() => {}
    }
}
