//! Accepts connections and serves them until shutdown.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::routes::route;
use super::settings::EmulatorConfig;
use super::socket::{ResetSwitch, Socket};
use super::socket_routes::{SocketSlot, serve_socket};
use super::state::ServerState;

/// The longest wait for a complete request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long responses in flight may take at shutdown; a script may never end.
const DRAIN: Duration = Duration::from_secs(1);
/// Wait after an error of `accept`, such as too many open files, until descriptors are closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves DashScope's API on a listener until `shutdown` completes. The base URL is
/// `http://ADDRESS/api/v1`. Connections that are open at shutdown have one second to end.
///
/// # Errors
///
/// If the listener has no local address.
pub async fn serve(
    listener: TcpListener,
    settings: EmulatorConfig,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limit = Arc::new(Semaphore::new(settings.max_connections.max(1)));
    let state = Arc::new(ServerState::new(settings, listener.local_addr()?));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, permit) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &limit) => match accepted {
                Some(accepted) => accepted,
                None => {
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (state, stopped) = (Arc::clone(&state), stopped.clone());
        connections.spawn(async move {
            connection(state, stream, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    // All receivers may be gone with their connections.
    let _ = stop.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    // What has not ended is aborted when the set is dropped.
    let _ = timeout(DRAIN, all).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    limit: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(limit).acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    // Frames are small and must not be delayed by Nagle's algorithm. Failure only costs latency.
    let _ = stream.set_nodelay(true);
    Some((stream, permit))
}

async fn connection(
    state: Arc<ServerState>,
    stream: TcpStream,
    mut stopped: watch::Receiver<bool>,
) {
    let reset_switch = ResetSwitch::default();
    let io = TokioIo::new(Socket::new(stream, reset_switch.clone()));
    let slot = SocketSlot::new();
    let upgraded = slot.clone();
    let service = service_fn(move |request| {
        let (state, reset_switch) = (Arc::clone(&state), reset_switch.clone());
        route(state, reset_switch, slot.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(io, service)
        .with_upgrades();
    {
        tokio::pin!(connection);
        let is_over = tokio::select! {
            // The journal records how it ended; a disconnecting client is not logged.
            _ = connection.as_mut() => true,
            _ = stopped.wait_for(|stopped| *stopped) => false,
        };
        if !is_over {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    if let Some(socket) = upgraded.take() {
        serve_socket(socket, stopped).await;
    }
}
