//! One connection: a request goes out, the head of its answer comes in.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::connect::Socket;
use super::fault::Fault;
use super::framing::Framing;
use super::head::{self, Head};
use super::scratch;
use super::unzip::Coding;

/// A connection.
pub(super) struct Connection {
    socket: Socket,
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
    /// One that was just opened.
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            writing: false,
        }
    }

    /// Whether it is ready for a request.
    pub(super) fn is_idle(&self) -> bool {
        !self.writing
    }

    /// Whether the host has kept it open, and said nothing that nobody asked for.
    pub(super) fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        self.socket.poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Sends a request, and waits for the head of its answer. Gives what came after it, too.
    pub(super) async fn ask(&mut self, head: &[u8], body: &[u8]) -> Result<(Head, Bytes), Fault> {
        self.writing = true;
        let mut asking = Asking {
            connection: self,
            head,
            body,
            failed: None,
            heard: Vec::new(),
        };
        poll_fn(|cx| asking.poll(cx)).await
    }

    /// Reads once, and gives what came to `each`. Zero bytes: the host has nothing more to say.
    pub(super) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        each: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        scratch::lend(|scratch| {
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
    /// Why no more can be written.
    failed: Option<io::Error>,
    /// The head of the answer, as long as it is not whole.
    heard: Vec<u8>,
}

impl Asking<'_> {
    /// Writes and reads at once: a host may answer, and stop to listen, before it has heard all.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Head, Bytes), Fault>> {
        if self.connection.writing && self.failed.is_none() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => self.connection.writing = false,
                // What the host has said before it hung up is still to be heard.
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => {}
            }
        }
        loop {
            let heard = &mut self.heard;
            let read = self.connection.poll_read(cx, |bytes| hear(heard, bytes));
            match ready!(read) {
                Ok(Heard::Head(head, rest)) => return Poll::Ready(Ok((head, rest))),
                Ok(Heard::More) => {}
                Ok(Heard::End) => {
                    let end = self.failed.take();
                    let end = end.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(Fault::Reset(end)));
                }
                Ok(Heard::Nonsense(what)) => return Poll::Ready(Err(Fault::Malformed(what))),
                Err(error) => return Poll::Ready(Err(Fault::Reset(error))),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.head.is_empty() || !self.body.is_empty() {
            let slices = [io::IoSlice::new(self.head), io::IoSlice::new(self.body)];
            let written = ready!(self.connection.socket.poll_write(cx, &slices))?;
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

fn hear(before: &mut Vec<u8>, bytes: &[u8]) -> Heard {
    if bytes.is_empty() {
        return Heard::End;
    }
    let mut all = bytes;
    if !before.is_empty() {
        before.extend_from_slice(bytes);
        all = before;
    }
    loop {
        match head::read(all) {
            // What comes before the answer, as 100 Continue.
            Ok(Some((head, length))) if (100..200).contains(&head.status) && head.status != 101 => {
                all = all.get(length..).unwrap_or_default();
                if all.is_empty() {
                    before.clear();
                    return Heard::More;
                }
            }
            Ok(Some((head, length))) => {
                let rest = all.get(length..).unwrap_or_default();
                return Heard::Head(head, Bytes::copy_from_slice(rest));
            }
            Ok(None) => {
                *before = all.to_vec();
                return Heard::More;
            }
            Err(what) => return Heard::Nonsense(what),
        }
    }
}
