//! The cancellation of a call by its request id.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Request;

use crate::call::{failed, of_broken_connection, within};
use crate::client::Client;
use crate::error::Error;
use crate::v1::CancelCallRequest;

/// The cancellation of a call, which is sent when it is awaited.
#[derive(Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct CallCancellation {
    client: Client,
    request_id: String,
    timeout: Option<Duration>,
    metadata: Vec<(String, String)>,
}

impl CallCancellation {
    pub(crate) fn new(client: Client, request_id: String) -> Self {
        Self {
            client,
            request_id,
            timeout: None,
            metadata: Vec::new(),
        }
    }

    /// Sets the deadline of this call. Default: the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to this call.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }
}

impl IntoFuture for CallCancellation {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let timeout = self.timeout.unwrap_or_else(|| self.client.whole_timeout());
            let deadline = Instant::now().checked_add(timeout);
            let request_id = self.request_id.clone();
            let mut request = Request::new(CancelCallRequest { request_id });
            *request.metadata_mut() = self.client.metadata(&self.metadata)?;
            request.set_timeout(timeout);
            let mut service = self.client.call_service();
            let done = within(deadline, &self.request_id, service.cancel_call(request)).await?;
            match done {
                Ok(_) => Ok(()),
                Err(status) => {
                    let status = of_broken_connection(status);
                    Err(failed(status, deadline, &self.request_id))
                }
            }
        })
    }
}
