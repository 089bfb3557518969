//! One connection: sends a request and receives the head of the response.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::error::RequestError;
use super::framing::Framing;
use super::gzip::ContentEncoding;
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
    pub(super) coding: ContentEncoding,
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
    /// [`RequestError::Unsent`] is returned only if no byte of the request was written to the
    /// socket.
    pub(super) async fn exchange(
        &mut self,
        head: &[u8],
        body: &[u8],
    ) -> Result<(Head, Bytes), RequestError> {
        self.exchange_head(head, body, false).await
    }

    /// Sends a request for another protocol, which may follow the head of the response.
    pub(super) async fn upgrade(&mut self, head: &[u8]) -> Result<(Head, Bytes), RequestError> {
        self.exchange_head(head, &[], true).await
    }

    /// The socket, for another protocol.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    async fn exchange_head(
        &mut self,
        head: &[u8],
        body: &[u8],
        upgrades: bool,
    ) -> Result<(Head, Bytes), RequestError> {
        self.writing = true;
        let mut pending = PendingRequest {
            connection: self,
            head,
            body,
            sent: false,
            failed: None,
            received: PartialHead {
                upgrades,
                ..PartialHead::default()
            },
        };
        poll_fn(|cx| pending.poll(cx)).await
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
struct PendingRequest<'a> {
    connection: &'a mut Connection,
    head: &'a [u8],
    body: &'a [u8],
    /// Whether a byte of it may have been sent.
    sent: bool,
    /// Why no more can be written.
    failed: Option<io::Error>,
    /// The received part of the response's head.
    received: PartialHead,
}

impl PendingRequest<'_> {
    /// Writes and reads concurrently: a host may respond, and stop reading, before the request is
    /// complete.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Head, Bytes), RequestError>> {
        if self.connection.writing && self.failed.is_none() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => self.connection.writing = false,
                Poll::Ready(Err(error)) if !self.sent => {
                    return Poll::Ready(Err(RequestError::Unsent(error)));
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
                Ok(HeadStatus::Head(head, rest)) => return Poll::Ready(Ok((head, rest))),
                Ok(HeadStatus::More) => {}
                Ok(HeadStatus::End) => {
                    let end = self.failed.take();
                    let end = end.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(self.broken(end)));
                }
                Ok(HeadStatus::Malformed(what)) => {
                    return Poll::Ready(Err(RequestError::Malformed(what)));
                }
                Err(error) => return Poll::Ready(Err(self.broken(error))),
            }
        }
    }

    fn broken(&self, error: io::Error) -> RequestError {
        match self.sent {
            true => RequestError::Reset(error),
            false => RequestError::Unsent(error),
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
enum HeadStatus {
    Head(Head, Bytes),
    More,
    End,
    Malformed(&'static str),
}

/// The received part of an incomplete head.
#[derive(Default)]
struct PartialHead {
    bytes: Vec<u8>,
    /// Whether another protocol was requested. Otherwise the data after the head would not be HTTP.
    upgrades: bool,
    /// The number of interim responses so far.
    interim: usize,
    /// Their total length, in bytes.
    interim_bytes: usize,
}

impl PartialHead {
    fn take(&mut self, bytes: &[u8]) -> HeadStatus {
        if bytes.is_empty() {
            return HeadStatus::End;
        }
        if self.bytes.is_empty() {
            return self.read(bytes);
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        // A head that arrives byte by byte is not parsed again for each of them.
        if self.bytes.len() < head::MAX_HEAD && !has_blank_line(&self.bytes, before) {
            return HeadStatus::More;
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.read(&bytes)
    }

    /// Parses heads up to a final one. The rest of an incomplete one is kept.
    fn read(&mut self, mut bytes: &[u8]) -> HeadStatus {
        loop {
            match head::read(bytes) {
                // An interim response, such as 100 Continue.
                Ok(Some((head, length))) if head.is_interim() => {
                    self.interim += 1;
                    self.interim_bytes += length;
                    if self.interim > MAX_INTERIM || self.interim_bytes > head::MAX_HEAD {
                        return HeadStatus::Malformed("too many interim responses");
                    }
                    bytes = bytes.get(length..).unwrap_or_default();
                    if bytes.is_empty() {
                        return HeadStatus::More;
                    }
                }
                Ok(Some((head, _))) if head.switches_protocols() && !self.upgrades => {
                    return HeadStatus::Malformed("the answer switches protocols");
                }
                Ok(Some((head, length))) => {
                    let rest = bytes.get(length..).unwrap_or_default();
                    return HeadStatus::Head(head, Bytes::copy_from_slice(rest));
                }
                Ok(None) => {
                    self.bytes = bytes.to_vec();
                    return HeadStatus::More;
                }
                Err(what) => return HeadStatus::Malformed(what),
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
