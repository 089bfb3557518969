//! Accepts connections and serves them until it is told to stop.

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

use super::desk::Desk;
use super::routes::route;
use super::settings::Settings;
use super::socket::{Breaker, Socket};

/// A client that does not finish its head in this time is not one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers that run when the server stops may end within this; scripts may hang for ever.
const DRAIN: Duration = Duration::from_secs(1);
/// After an error of `accept`, such as too many open files, others may close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Plays DashScope on a listener until `shutdown` is ready: its base URL is
/// `http://ADDRESS/api/v1`. The connections that are open then have a second to end.
///
/// # Errors
///
/// When the listener has no address.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limit = Arc::new(Semaphore::new(settings.max_connections.max(1)));
    let desk = Arc::new(Desk::new(settings, listener.local_addr()?));
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
        let (desk, stopped) = (Arc::clone(&desk), stopped.clone());
        connections.spawn(async move {
            connection(desk, stream, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    // The receivers may all have gone with their connections.
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
    // Frames are small and must not wait for each other. Without it they are only slower.
    let _ = stream.set_nodelay(true);
    Some((stream, permit))
}

async fn connection(desk: Arc<Desk>, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
    let breaker = Breaker::default();
    let io = TokioIo::new(Socket::new(stream, breaker.clone()));
    let service = service_fn(move |request| route(Arc::clone(&desk), breaker.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        // How it ended stands in the journal; a client that goes is nothing to tell.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
