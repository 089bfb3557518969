//! A bare copy: bytes from one socket to another, and nothing else. What uploads are compared with.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::console::say;
use crate::error::Result;

/// As much as one chunk of an upload.
const ROOM: usize = 1024 * 1024;

/// Copies until the process is ended.
pub(crate) fn serve(sink: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&format!("listening on {}\n", listener.local_addr()?));
        loop {
            let (mut from, _) = listener.accept().await?;
            let mut to = TcpStream::connect(sink).await?;
            tokio::spawn(async move {
                // Whoever measures sees when fewer bytes come than were sent.
                let _ =
                    tokio::io::copy_bidirectional_with_sizes(&mut from, &mut to, ROOM, ROOM).await;
            });
        }
    })
}
