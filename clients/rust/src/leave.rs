//! What ends a call whose stream was left: the gateway would wait for its reader.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};

use crate::client::Client;
use crate::error::Error;
use crate::v1::CancelCallRequest;

/// The deadline of the call that ends another one. The gateway ends that by itself after some
/// seconds.
const LIMIT: Duration = Duration::from_secs(2);

/// How many calls are being ended.
#[derive(Clone, Debug)]
pub(crate) struct Leaving(Arc<watch::Sender<usize>>);

impl Leaving {
    pub(crate) fn none() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Waits until there are none, for a limited time.
    pub(crate) async fn end(&self) {
        let mut count = self.0.subscribe();
        // Each has the same limit.
        let _ended = timeout(LIMIT, count.wait_for(|count| *count == 0)).await;
    }

    fn begin(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.clone())
    }
}

/// One of them.
struct Counted(Leaving);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0
            .0
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Ends the call when it is dropped, unless the call has ended.
#[derive(Debug)]
pub(crate) struct Leave {
    client: Client,
    metadata: MetadataMap,
    request_id: String,
    /// Whether the caller chose the request id, so that the call may have other readers.
    is_named: bool,
    is_armed: bool,
}

impl Leave {
    /// Of a call that is about to be sent; `is_wanted` is whether its stream can be resumed.
    pub(crate) fn new(
        client: &Client,
        metadata: &MetadataMap,
        (request_id, is_named): (&str, bool),
        is_wanted: bool,
    ) -> Self {
        Self {
            client: client.clone(),
            metadata: metadata.clone(),
            request_id: request_id.to_owned(),
            is_named,
            is_armed: is_wanted,
        }
    }

    /// The call needs no end: it has ended, or ends with its connection.
    pub(crate) fn disarm(&mut self) {
        self.is_armed = false;
    }

    /// The stream has failed.
    pub(crate) fn failed(&mut self, error: &Error) {
        // A caller that chose the request id can fetch the answer after the deadline.
        if error.code() == Code::DeadlineExceeded && !self.is_named {
            self.leave();
        }
        self.disarm();
    }

    fn leave(&mut self) {
        // Without a runtime, nothing can be sent.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !std::mem::take(&mut self.is_armed) {
            return;
        }
        let counted = self.client.leaving().begin();
        let mut service = self.client.call_service();
        let request_id = std::mem::take(&mut self.request_id);
        let mut request = Request::new(CancelCallRequest { request_id });
        *request.metadata_mut() = std::mem::take(&mut self.metadata);
        request.set_timeout(LIMIT);
        runtime.spawn(async move {
            // If it fails, the gateway ends the call.
            let _ended = timeout(LIMIT, service.cancel_call(request)).await;
            drop(counted);
        });
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.leave();
    }
}
