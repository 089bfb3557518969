//! The progress of one upload.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_stream::Stream;

use crate::error::Error;
use crate::telemetry::call_report::Report;
use crate::telemetry::in_flight::InFlight;

/// The entry in the list of calls in flight.
pub(in crate::relay) struct UploadInFlight {
    request_id: Arc<str>,
    method: &'static str,
    model: Arc<str>,
    caller: Option<Arc<str>>,
    arrived: Instant,
    bytes: AtomicU64,
}

impl UploadInFlight {
    /// The progress of the upload with this report.
    pub(in crate::relay) fn new(report: &Report, arrived: Instant) -> Self {
        Self {
            request_id: Arc::clone(&report.request_id),
            method: report.method,
            model: Arc::clone(&report.model),
            caller: report.caller.clone(),
            arrived,
            bytes: AtomicU64::new(0),
        }
    }

    /// The number of bytes forwarded.
    pub(in crate::relay) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The current entry.
    pub(in crate::relay) fn view(&self) -> InFlight {
        InFlight {
            request_id: self.request_id.as_ref().to_owned(),
            method: self.method.to_owned(),
            model: self.model.as_ref().to_owned(),
            caller: self.caller.as_deref().map(str::to_owned),
            age_seconds: self.arrived.elapsed().as_secs_f64(),
            state: "uploading".to_owned(),
            uploaded_bytes: self.bytes(),
            ..InFlight::default()
        }
    }
}

/// The chunks of an upload, counted as they pass.
pub(in crate::relay) struct CountedChunks<S, F> {
    /// The chunks.
    pub(in crate::relay) chunks: Pin<Box<S>>,
    /// The progress to update.
    pub(in crate::relay) progress: Arc<UploadInFlight>,
    /// Called with each.
    pub(in crate::relay) count: F,
}

impl<S, F> Stream for CountedChunks<S, F>
where
    S: Stream<Item = Result<Bytes, Error>>,
    F: Fn(&Bytes) + Unpin,
{
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.chunks.as_mut().poll_next(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            let length = chunk.len() as u64;
            self.progress.bytes.fetch_add(length, Ordering::Relaxed);
            (self.count)(chunk);
        }
        polled
    }
}
