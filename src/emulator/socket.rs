//! A connection that can be reset on purpose.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Makes a connection end with RST instead of FIN.
#[derive(Clone, Debug, Default)]
pub(super) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    /// Resets the connection when it is closed.
    pub(super) fn reset_on_close(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn resets_on_close(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A TCP connection that can be reset.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    reset_switch: ResetSwitch,
}

impl Socket {
    /// Wraps a connection.
    pub(super) fn new(stream: TcpStream, reset_switch: ResetSwitch) -> Self {
        Self {
            stream,
            reset_switch,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset_switch.resets_on_close() {
            // Closing with zero linger discards unsent bytes and sends RST. If the option cannot be
            // set, the peer sees FIN, which also cuts the response.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset_switch.resets_on_close() {
            // A FIN would prevent the RST.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
