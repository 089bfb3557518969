//! One connection: sends a request and receives the head of the response.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::error::Fault;
use super::framing::Framing;
use super::gzip::Coding;
use super::head::{self, Head};
use super::read_buffer;
use super::socket::Socket;

/// The maximum number of interim responses (1xx) before the final one. DashScope sends none, a load
/// balancer one or two. Their bytes count against the limit of a head.
const MAX_INTERIM: usize = 16;

/// The fraction by which the lifetime of a connection varies, so that connections opened together
/// are not replaced together.
const AGE_JITTER: f64 = 0.1;

pub(super) struct Connection {
    socket: Socket,
    /// When it must not be used for further requests.
    expires: Instant,
    /// Whether a request is not completely sent. The connection is then not reusable.
    writing: bool,
}

/// What is known of a body once the head was read.
pub(super) struct Received {
    /// How the body ends.
    pub(super) framing: Framing,
    /// The bytes of the body that came with the head.
    pub(super) rest: Bytes,
    /// The content encoding.
    pub(super) coding: Coding,
}

impl Connection {
    /// A new connection, which is used for `max_age`, plus or minus a tenth.
    pub(super) fn new(socket: Socket, max_age: Duration) -> Self {
        let jitter = 1.0 + AGE_JITTER * (2.0 * fastrand::f64() - 1.0);
        Self {
            socket,
            expires: Instant::now() + max_age.mul_f64(jitter),
            writing: false,
        }
    }

    /// Whether no request is in progress.
    pub(super) fn is_idle(&self) -> bool {
        !self.writing
    }

    /// Whether it exceeded its maximum age.
    pub(super) fn is_expired(&self) -> bool {
        Instant::now() >= self.expires
    }

    /// Whether the host has neither closed it nor sent unsolicited data.
    pub(super) fn is_open(&mut self) -> bool {
        self.socket.is_quiet()
    }

    /// Sends a request and waits for the head of its response. Also returns the bytes after the
    /// head.
    ///
    /// [`Fault::Unsent`] is returned only if no byte of the request was written to the socket.
    pub(super) async fn ask(&mut self, head: &[u8], body: &[u8]) -> Result<(Head, Bytes), Fault> {
        self.writing = true;
        let mut asking = Asking {
            connection: self,
            head,
            body,
            sent: false,
            failed: None,
            received: Partial::default(),
        };
        poll_fn(|cx| asking.poll(cx)).await
    }

    /// Reads once and passes the bytes to `each`. Zero bytes: the host closed its side.
    pub(super) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        each: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        read_buffer::lend(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(self.socket.poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(each(buffer.filled())))
        })
    }
}

/// A request in progress.
struct Asking<'a> {
    connection: &'a mut Connection,
    head: &'a [u8],
    body: &'a [u8],
    /// Whether a byte of it may have been sent.
    sent: bool,
    /// Why no more can be written.
    failed: Option<io::Error>,
    /// The received part of the response's head.
    received: Partial,
}

impl Asking<'_> {
    /// Writes and reads concurrently: a host may respond, and stop reading, before the request is
    /// complete.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Head, Bytes), Fault>> {
        if self.connection.writing && self.failed.is_none() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => self.connection.writing = false,
                Poll::Ready(Err(error)) if !self.sent => {
                    return Poll::Ready(Err(Fault::Unsent(error)));
                }
                // A response that the host sent before closing is still to be read.
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => {}
            }
        }
        loop {
            let received = &mut self.received;
            let read = self.connection.poll_read(cx, |bytes| received.take(bytes));
            match ready!(read) {
                Ok(Heard::Head(head, rest)) => return Poll::Ready(Ok((head, rest))),
                Ok(Heard::More) => {}
                Ok(Heard::End) => {
                    let end = self.failed.take();
                    let end = end.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(self.broken(end)));
                }
                Ok(Heard::Nonsense(what)) => return Poll::Ready(Err(Fault::Malformed(what))),
                Err(error) => return Poll::Ready(Err(self.broken(error))),
            }
        }
    }

    fn broken(&self, error: io::Error) -> Fault {
        match self.sent {
            true => Fault::Reset(error),
            false => Fault::Unsent(error),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may have sent a record before it reports that a later one failed.
        self.sent |= self.connection.socket.is_buffered();
        while !self.head.is_empty() || !self.body.is_empty() {
            let slices = [io::IoSlice::new(self.head), io::IoSlice::new(self.body)];
            let written = ready!(self.connection.socket.poll_write(cx, &slices))?;
            self.sent |= written > 0;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(self.head.len());
            self.head = self.head.get(of_head..).unwrap_or_default();
            self.body = self.body.get(written - of_head..).unwrap_or_default();
        }
        self.connection.socket.poll_flush(cx)
    }
}

/// The result of reading a head.
enum Heard {
    Head(Head, Bytes),
    More,
    End,
    Nonsense(&'static str),
}

/// The received part of an incomplete head.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// The number of interim responses so far.
    interim: usize,
    /// Their total length, in bytes.
    interim_bytes: usize,
}

impl Partial {
    fn take(&mut self, bytes: &[u8]) -> Heard {
        if bytes.is_empty() {
            return Heard::End;
        }
        if self.bytes.is_empty() {
            return self.read(bytes);
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // A head that arrives byte by byte is not parsed again for each of them.
        if self.bytes.len() < head::MAX_HEAD && !has_blank_line(&self.bytes, before) {
            return Heard::More;
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.read(&bytes)
    }

    /// Parses heads up to a final one. The rest of an incomplete one is kept.
    fn read(&mut self, mut bytes: &[u8]) -> Heard {
        loop {
            match head::read(bytes) {
                // An interim response, such as 100 Continue.
                Ok(Some((head, length))) if head.is_interim() => {
                    self.interim += 1;
                    self.interim_bytes += length;
                    if self.interim > MAX_INTERIM || self.interim_bytes > head::MAX_HEAD {
                        return Heard::Nonsense("too many interim responses");
                    }
                    bytes = bytes.get(length..).unwrap_or_default();
                    if bytes.is_empty() {
                        return Heard::More;
                    }
                }
                Ok(Some((head, length))) => {
                    let rest = bytes.get(length..).unwrap_or_default();
                    return Heard::Head(head, Bytes::copy_from_slice(rest));
                }
                Ok(None) => {
                    self.bytes = bytes.to_vec();
                    return Heard::More;
                }
                Err(what) => return Heard::Nonsense(what),
            }
        }
    }
}

/// Whether the bytes from here on complete a blank line, which ends a head.
fn has_blank_line(bytes: &[u8], from: usize) -> bool {
    // It may have begun up to two bytes earlier.
    let new = bytes.get(from.saturating_sub(2)..).unwrap_or_default();
    let pairs = new.windows(2).any(|pair| pair == b"\n\n");
    pairs || new.windows(3).any(|three| three == b"\n\r\n")
}
