//! What ends a call whose stream was left: the gateway would wait for its reader.

use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};

use crate::client::Client;
use crate::error::Error;
use crate::leaving::LIMIT;
use crate::v1::CancelCallRequest;

/// Ends the call when it is dropped, unless the call has ended.
#[derive(Debug)]
pub(crate) struct Leave {
    client: Client,
    metadata: MetadataMap,
    request_id: String,
    /// Whether the caller chose the request id, so that the call may have other readers.
    is_named: bool,
    is_armed: bool,
    /// That of the call: a stream may be dropped by a thread that has none.
    runtime: Option<Handle>,
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
            runtime: Handle::try_current().ok(),
        }
    }

    /// The call needs no end: it has ended, or ends with its connection.
    pub(crate) fn disarm(&mut self) {
        self.is_armed = false;
    }

    /// The stream has failed, perhaps because its deadline has passed.
    pub(crate) fn failed(&mut self, error: &Error, is_over: bool) {
        // A caller that chose the request id can fetch the answer after the deadline.
        if (is_over || error.code() == Code::DeadlineExceeded) && !self.is_named {
            self.leave();
        }
        self.disarm();
    }

    fn leave(&mut self) {
        if !std::mem::take(&mut self.is_armed) {
            return;
        }
        // Without a runtime, nothing can be sent.
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        let counted = self.client.leaving().begin();
        let client = self.client.clone();
        let request_id = std::mem::take(&mut self.request_id);
        let mut request = Request::new(CancelCallRequest { request_id });
        *request.metadata_mut() = std::mem::take(&mut self.metadata);
        request.set_timeout(LIMIT);
        runtime.spawn(async move {
            let (mut service, _counted) = client.calls();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_be_dropped_after_its_runtime() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = Client::builder().target("127.0.0.1:1").build().unwrap();
        let leave = runtime
            .block_on(async { Leave::new(&client, &MetadataMap::new(), ("id", true), true) });
        drop(runtime);
        drop(leave);
        assert_eq!(client.leaving().count(), 0);
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_by_a_thread_without_a_runtime_ends_its_call() {
        let client = Client::builder().target("127.0.0.1:1").build().unwrap();
        let leave = Leave::new(&client, &MetadataMap::new(), ("id", true), true);
        std::thread::spawn(move || drop(leave)).join().unwrap();
        // The task has not run.
        assert_eq!(client.leaving().count(), 1);
        client.settle().await;
        assert_eq!(client.leaving().count(), 0);
    }
}
