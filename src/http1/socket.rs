//! A connection's bytes, in the clear or under TLS.

use std::future::{Future as _, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection's bytes.
pub(super) enum Socket {
    /// In the clear, as on loopback.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// Under TLS, through a proxy that is asked over TLS itself.
    TlsInTls(Box<TlsStream<Box<TlsStream<TcpStream>>>>),
}

impl Socket {
    /// Whether nothing has come, not even the end.
    ///
    /// The system is asked itself. What tokio knows may be older than the close of many connections
    /// at once, and its cooperative budget reports sockets as not ready when a task has done much.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => is_quiet(stream),
            Self::Tls(stream) => has_no_data(stream) && is_quiet(stream.get_ref().0),
            Self::TlsInTls(stream) => {
                has_no_data(stream) && is_quiet(stream.get_ref().0.get_ref().0)
            }
        }
    }

    /// Whether a failed write may have sent a part of what it was given.
    pub(super) fn is_buffered(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Reads what is there.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            Self::TlsInTls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }

    /// Writes what it takes of these.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
            Self::TlsInTls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    /// Sends on what was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::TlsInTls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }
}

/// Whether the system holds neither a byte nor the end of this connection.
fn is_quiet(stream: &TcpStream) -> bool {
    let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether TLS holds no data. What is none, as the tickets of TLS 1.3, is read on the way.
fn has_no_data<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer));
    let read = pin!(tokio::task::unconstrained(read));
    let polled = read.poll(&mut Context::from_waker(Waker::noop()));
    polled.is_pending()
}
