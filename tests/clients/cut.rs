//! A TCP proxy whose first connection breaks after a number of bytes, as a network would break it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running proxy. It ends when it is dropped.
pub(crate) struct CutProxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl CutProxy {
    /// Listens in front of this address. After so many bytes of the server, the first connection
    /// is closed; the others are not.
    pub(crate) async fn start(target: String, after_bytes: u64) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let task = tokio::spawn(async move {
            let mut limit = Some(after_bytes);
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, target.clone(), limit.take()));
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(mut client: TcpStream, target: String, limit: Option<u64>) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let Some(limit) = limit else {
        // How it ends is seen by both sides.
        let _ended = copy_bidirectional(&mut client, &mut server).await;
        return;
    };
    let (mut from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let mut from_server = from_server.take(limit);
    tokio::select! {
        _requests = copy(&mut from_client, &mut to_server) => {}
        _limit = copy(&mut from_server, &mut to_client) => {}
    }
}
