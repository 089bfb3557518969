//! The body of an upload: counted, checked, and buffered while it is small, so that an upload
//! refused early by the storage can be retried.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use super::upload_policy::too_large;
use crate::chat::sniffing::HEAD_BYTES;
use crate::error::Error;

/// The maximum number of bytes buffered: one chunk of the default maximum size. A storage that
/// refuses a policy responds after the form's first fields.
const KEPT_BYTES: usize = 1024 * 1024;

/// The maximum number of chunks buffered, however small.
const KEPT_CHUNKS: usize = 256;

/// The caller's data.
pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// An upload as it arrives, with the chunks that can be sent again.
#[derive(Clone)]
pub(super) struct Replay {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    chunks: Chunks,
    /// All chunks, until there are too many.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    /// Whether the caller's data ended, or failed.
    ended: bool,
    /// The attempt that may read.
    attempt: u32,
}

impl Replay {
    /// Reads the beginning of an upload: as many chunks as its type is detected from. Returns its
    /// first bytes.
    pub(super) async fn begin(mut chunks: Chunks) -> Result<(Vec<u8>, Self), Error> {
        let (mut first, mut head, mut ended) = (Vec::new(), Vec::new(), false);
        while head.len() < HEAD_BYTES && !ended {
            match std::future::poll_fn(|cx| chunks.as_mut().poll_next(cx)).await {
                Some(chunk) => {
                    let chunk: Bytes = chunk?;
                    // Any number of them would be kept.
                    if chunk.is_empty() {
                        continue;
                    }
                    let missing = chunk.len().min(HEAD_BYTES - head.len());
                    head.extend_from_slice(chunk.get(..missing).unwrap_or_default());
                    first.push(chunk);
                }
                None => ended = true,
            }
        }
        Ok((head, Self::new(first, chunks, ended)))
    }

    /// An upload whose first chunks were already read.
    fn new(first: Vec<Bytes>, chunks: Chunks, ended: bool) -> Self {
        let mut inner = Inner {
            chunks,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            ended,
            attempt: 0,
        };
        for chunk in &first {
            inner.keep(chunk);
        }
        if inner.kept.is_none() {
            // Larger than the buffer; it has to be sent once anyway.
            inner.kept = Some(first);
        }
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Whether everything can be sent again from the start. The previous attempt receives no more
    /// data: its connection may take a while to close.
    pub(super) fn rewind(&self) -> bool {
        let mut inner = self.lock();
        inner.attempt += 1;
        inner.kept.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, chunk: &Bytes) {
        self.kept_bytes = self.kept_bytes.saturating_add(chunk.len());
        if let Some(kept) = &mut self.kept {
            kept.push(chunk.clone());
            if self.kept_bytes > KEPT_BYTES || kept.len() > KEPT_CHUNKS {
                self.kept = None;
            }
        }
    }
}

/// Counts the bytes sent.
#[derive(Clone, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    /// The number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body of one attempt, from the start of the upload. It fails if the data are too long or too
/// short.
pub(super) struct Source {
    replay: Replay,
    attempt: u32,
    failed: bool,
    /// The number of buffered chunks that this attempt has sent.
    position: usize,
    limit: u64,
    expected: Option<u64>,
    counter: Counter,
}

impl Source {
    /// The body of an attempt. `limit` is the maximum size, `expected` the size declared by the
    /// caller.
    pub(super) fn new(replay: &Replay, limit: u64, expected: Option<u64>) -> Self {
        Self {
            attempt: replay.lock().attempt,
            failed: false,
            replay: replay.clone(),
            position: 0,
            limit,
            expected,
            counter: Counter::default(),
        }
    }

    /// The counter of its bytes.
    pub(super) fn counter(&self) -> Counter {
        self.counter.clone()
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let mut inner = self.replay.lock();
        if inner.attempt != self.attempt {
            return Poll::Ready(None);
        }
        let kept = inner.kept.as_ref();
        if let Some(chunk) = kept.and_then(|kept| kept.get(self.position)).cloned() {
            self.position += 1;
            return Poll::Ready(Some(Ok(chunk)));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        let next = ready!(inner.chunks.as_mut().poll_next(cx));
        match &next {
            Some(Ok(chunk)) => {
                inner.keep(chunk);
                self.position += 1;
            }
            Some(Err(_)) => {
                // Data that the caller failed to send cannot be retried.
                inner.ended = true;
                inner.kept = None;
            }
            None => inner.ended = true,
        }
        Poll::Ready(next)
    }

    fn checked(&self, chunk: Bytes) -> Result<Bytes, Error> {
        let length = chunk.len() as u64;
        let sent = self.counter.0.fetch_add(length, Ordering::Relaxed) + length;
        match self.expected {
            _ if sent > self.limit => Err(too_large(sent, self.limit)),
            Some(expected) if sent > expected => Err(wrong_size(expected)),
            _ => Ok(chunk),
        }
    }
}

impl Stream for Source {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_chunk(cx));
        let next = match next {
            Some(Ok(chunk)) => Some(self.checked(chunk)),
            Some(Err(error)) => Some(Err(error)),
            None => match self.expected {
                Some(expected) if self.counter.bytes() < expected => {
                    Some(Err(wrong_size(expected)))
                }
                _ => None,
            },
        };
        self.failed = matches!(next, Some(Err(_)));
        Poll::Ready(next)
    }
}

fn wrong_size(expected: u64) -> Error {
    Error::field(
        "description.size_bytes",
        format!("is {expected}, but a different number of bytes was sent"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::{StreamExt as _, iter};

    fn upload(chunks: usize, size: usize) -> Replay {
        let chunk = |n: usize| Bytes::from(vec![u8::try_from(n % 251).unwrap(); size]);
        let rest: Vec<_> = (1..chunks).map(|n| Ok(chunk(n))).collect();
        Replay::new(vec![chunk(0)], Box::pin(iter(rest)), false)
    }

    async fn read(source: Source) -> Vec<u8> {
        let chunks: Vec<_> = source.map(Result::unwrap).collect().await;
        chunks.concat()
    }

    #[tokio::test]
    async fn a_small_upload_can_be_retried_from_any_point() {
        for stopped in 0..=5 {
            let replay = upload(5, 100);
            let mut first = Source::new(&replay, u64::MAX, Some(500));
            for _ in 0..stopped {
                first.next().await.unwrap().unwrap();
            }
            assert!(replay.rewind());
            assert!(
                first.next().await.is_none_or(|end| end.is_err()),
                "it is over"
            );
            let source = Source::new(&replay, u64::MAX, Some(500));
            let counter = source.counter();
            let bytes = read(source).await;
            assert_eq!(counter.bytes(), 500);
            assert_eq!((bytes[0], bytes[499], bytes.len()), (0, 4, 500));
        }
    }

    #[tokio::test]
    async fn the_replay_buffer_is_bounded_in_bytes_and_chunks() {
        for (chunks, size) in [
            (3, KEPT_BYTES / 2),
            (2, KEPT_BYTES + 1),
            (KEPT_CHUNKS + 2, 1),
        ] {
            let replay = upload(chunks, size);
            let bytes = read(Source::new(&replay, u64::MAX, None)).await;
            assert_eq!(bytes.len(), chunks * size);
            assert!(!replay.rewind(), "{chunks} of {size}");
        }
    }

    #[tokio::test]
    async fn each_attempt_checks_the_size() {
        let replay = upload(3, 10);
        for _ in 0..2 {
            replay.rewind();
            let all: Vec<_> = Source::new(&replay, 25, None).collect().await;
            assert!(all.iter().any(Result::is_err));
            let all: Vec<_> = Source::new(&replay, 100, Some(31)).collect().await;
            assert!(all.last().unwrap().is_err());
        }
    }
}
