//! The byte stream of a connection, plain or with TLS.

use std::future::{Future as _, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The byte stream of a connection.
pub(super) enum Socket {
    /// Without TLS, as on loopback.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// With TLS, through a proxy that itself uses TLS.
    TlsInTls(Box<TlsStream<Box<TlsStream<TcpStream>>>>),
}

impl Socket {
    /// Whether nothing was received, not even the end of the stream.
    ///
    /// The kernel is queried directly. Tokio's readiness may be outdated when many connections
    /// close at once, and its cooperative budget reports sockets as not ready in a busy task.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => is_quiet(stream),
            Self::Tls(stream) => has_no_data(stream) && is_quiet(stream.get_ref().0),
            Self::TlsInTls(stream) => {
                has_no_data(stream) && is_quiet(stream.get_ref().0.get_ref().0)
            }
        }
    }

    /// Whether a failed write may have sent a part of the data.
    pub(super) fn is_buffered(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Reads available bytes.
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

    /// Writes as many of these bytes as possible.
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

    /// Flushes buffered data.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::TlsInTls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }
}

/// Whether the kernel has neither data nor the end of this stream.
fn is_quiet(stream: &TcpStream) -> bool {
    let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Whether TLS has no data. Other records, such as session tickets of TLS 1.3, are consumed.
fn has_no_data<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer));
    let read = pin!(tokio::task::unconstrained(read));
    let polled = read.poll(&mut Context::from_waker(Waker::noop()));
    polled.is_pending()
}
