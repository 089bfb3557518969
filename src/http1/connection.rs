//! One connection: a request goes out, the head of its answer comes in.

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

/// The most interim answers (1xx) before a final one. DashScope sends none, a load balancer one or
/// two. Their bytes count against the limit of a head.
const MAX_INTERIM: usize = 16;

/// The part of its age by which a connection ends earlier or later, so that those which were opened
/// together are not replaced together.
const AGE_JITTER: f64 = 0.1;

/// A connection.
pub(super) struct Connection {
    socket: Socket,
    /// When it has been used for long enough.
    expires: Instant,
    /// Whether a request is not wholly sent. Its connection cannot be used for another one.
    writing: bool,
}

/// What is known of a body when its head was read.
pub(super) struct Received {
    /// Where it ends.
    pub(super) framing: Framing,
    /// What of it came with the head.
    pub(super) rest: Bytes,
    /// How it is encoded.
    pub(super) coding: Coding,
}

impl Connection {
    /// One that was just opened, and is used for this long, give or take a tenth.
    pub(super) fn new(socket: Socket, max_age: Duration) -> Self {
        let jitter = 1.0 + AGE_JITTER * (2.0 * fastrand::f64() - 1.0);
        Self {
            socket,
            expires: Instant::now() + max_age.mul_f64(jitter),
            writing: false,
        }
    }

    /// Whether it is ready for a request.
    pub(super) fn is_idle(&self) -> bool {
        !self.writing
    }

    /// Whether it is too old for another request.
    pub(super) fn is_expired(&self) -> bool {
        Instant::now() >= self.expires
    }

    /// Whether the host has kept it open, and sent nothing that was not asked for.
    pub(super) fn is_open(&mut self) -> bool {
        self.socket.is_quiet()
    }

    /// Sends a request, and waits for the head of its answer. Gives what came after it, too.
    ///
    /// [`Fault::Unsent`] is returned only if the socket took no byte of the request.
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

    /// Reads once, and gives what came to `each`. Zero bytes: the host has nothing more to say.
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

/// A request on its way.
struct Asking<'a> {
    connection: &'a mut Connection,
    head: &'a [u8],
    body: &'a [u8],
    /// Whether a byte of it may have left.
    sent: bool,
    /// Why no more can be written.
    failed: Option<io::Error>,
    /// The head of the answer, as long as it is not whole.
    received: Partial,
}

impl Asking<'_> {
    /// Writes and reads at once: a host may answer, and stop to listen, before it has heard all.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Head, Bytes), Fault>> {
        if self.connection.writing && self.failed.is_none() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => self.connection.writing = false,
                Poll::Ready(Err(error)) if !self.sent => {
                    return Poll::Ready(Err(Fault::Unsent(error)));
                }
                // What the host has said before it hung up is still to be heard.
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
        // TLS may have sent a record when it reports that a later one failed.
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

/// What was heard.
enum Heard {
    Head(Head, Bytes),
    More,
    End,
    Nonsense(&'static str),
}

/// What of a head has come, while it is not whole.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// How many interim answers came before.
    interim: usize,
    /// How many bytes they had.
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
        // A head that comes byte by byte is not read again for each of them.
        if self.bytes.len() < head::MAX_HEAD && !has_blank_line(&self.bytes, before) {
            return Heard::More;
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.read(&bytes)
    }

    /// Reads heads until a final one. What is left of an unfinished one is kept.
    fn read(&mut self, mut bytes: &[u8]) -> Heard {
        loop {
            match head::read(bytes) {
                // What comes before the answer, as 100 Continue.
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

/// Whether a blank line, which ends a head, is completed by the bytes from here on.
fn has_blank_line(bytes: &[u8], from: usize) -> bool {
    // It may have begun up to two bytes before.
    let new = bytes.get(from.saturating_sub(2)..).unwrap_or_default();
    let pairs = new.windows(2).any(|pair| pair == b"\n\n");
    pairs || new.windows(3).any(|three| three == b"\n\r\n")
}
