//! The body of a response. It polls its connection and nothing else.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::connection::{Connection, Received};
use super::error::BodyError;
use super::framing::Framing;
use super::gzip::{ContentEncoding, GzipDecoder};
use super::pool::Pool;

/// A streamed body. Dropping it before its end closes the connection.
pub struct Body {
    connection: Option<Connection>,
    /// The pool to which the connection is returned at the end, if it is reusable.
    pool: Option<Arc<Pool>>,
    framing: Framing,
    /// Received bytes that were not decoded yet.
    rest: Bytes,
    unzip: Option<Box<GzipDecoder>>,
}

impl Body {
    pub(super) fn new(connection: Connection, pool: Option<Arc<Pool>>, received: Received) -> Self {
        let mut body = Self {
            connection: Some(connection),
            pool,
            framing: received.framing,
            rest: received.rest,
            unzip: match received.coding {
                ContentEncoding::Identity => None,
                ContentEncoding::Gzip => Some(Box::new(GzipDecoder::new())),
            },
        };
        if body.framing.is_done() {
            body.over(body.rest.len());
        }
        body
    }

    /// A body of length zero.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self {
            connection: None,
            pool: None,
            framing: Framing::Length(0),
            rest: Bytes::new(),
            unzip: None,
        }
    }

    /// Whether its end is distinguishable from a broken connection: by its length, or its chunks.
    pub fn has_end(&self) -> bool {
        self.framing != Framing::UntilClose
    }

    /// Polls the next chunk, which is never empty.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let Some(unzip) = &mut self.unzip {
                match unzip.next() {
                    Ok(None) => {}
                    Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Err(broken) => return Poll::Ready(Some(Err(self.fail(broken)))),
                }
            }
            let bytes = match ready!(self.poll_raw(cx)) {
                Some(Ok(bytes)) => bytes,
                Some(Err(broken)) => return Poll::Ready(Some(Err(self.fail(broken)))),
                None => return Poll::Ready(self.finish().transpose()),
            };
            match &mut self.unzip {
                None => return Poll::Ready(Some(Ok(bytes))),
                Some(unzip) => unzip.push(bytes),
            }
        }
    }

    /// The next chunk.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Polls the next chunk, before decompression.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            let framing = &mut self.framing;
            let taken = if self.rest.is_empty() {
                match ready!(connection.poll_read(cx, |bytes| take(framing, bytes))) {
                    Ok(taken) => taken,
                    Err(error) => return Poll::Ready(Some(Err(BodyError::Cut(error)))),
                }
            } else {
                take(framing, &std::mem::take(&mut self.rest))
            };
            match taken {
                Ok(Some((body, beyond))) => {
                    if self.framing.is_done() {
                        self.over(beyond);
                    }
                    if !body.is_empty() {
                        return Poll::Ready(Some(Ok(body)));
                    }
                }
                Ok(None) if self.framing == Framing::UntilClose => self.connection = None,
                Ok(None) => {
                    let cut = BodyError::Cut(io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Some(Err(cut)));
                }
                Err(what) => return Poll::Ready(Some(Err(BodyError::Malformed(what)))),
            }
        }
    }

    /// Ends the body. Data beyond its end makes the connection unusable.
    fn over(&mut self, beyond: usize) {
        self.rest = Bytes::new();
        if let (Some(connection), Some(pool)) = (self.connection.take(), self.pool.take())
            && beyond == 0
        {
            pool.put(connection);
        }
    }

    fn finish(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.unzip.take() {
            Some(mut unzip) => unzip.finish(),
            None => Ok(None),
        }
    }

    fn fail(&mut self, broken: BodyError) -> BodyError {
        self.connection = None;
        self.rest = Bytes::new();
        self.unzip = None;
        broken
    }
}

/// The part of these bytes that is body, and the number of bytes beyond its end. `None` if there
/// were no bytes.
fn take(framing: &mut Framing, bytes: &[u8]) -> Result<Option<(Bytes, usize)>, &'static str> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut body = Vec::with_capacity(bytes.len());
    let taken = framing.take(bytes, &mut body)?;
    // At most one read is wasted: the excess capacity is freed with the chunk.
    body.shrink_to_fit();
    Ok(Some((body.into(), bytes.len() - taken)))
}
