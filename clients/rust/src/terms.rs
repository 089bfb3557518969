//! The settings of one call, and its attempts.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::client::Client;
use crate::error::Error;
use crate::log::{CallLog, CallName};
use crate::retry::{Attempts, throttle_delay};
use crate::status::failed;

/// The settings of a call.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) client: Client,
    pub(crate) method: &'static str,
    pub(crate) metadata: MetadataMap,
    pub(crate) deadline: Option<Instant>,
    pub(crate) request_id: String,
    /// How often the call is made again if it is throttled.
    pub(crate) max_retries: u32,
}

/// What came of the attempts.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) response: T,
    /// How often the call may still be made again if it is throttled.
    pub(crate) retries_left: u32,
}

/// No clock and no header has a deadline that is later: it is none.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The end of a call that begins now.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    let timeout = Some(timeout).filter(|timeout| *timeout <= LONGEST)?;
    Instant::now().checked_add(timeout)
}

impl Terms {
    /// The settings of a call without retries of throttling.
    pub(crate) fn new(
        client: Client,
        method: &'static str,
        metadata: MetadataMap,
        timeout: Option<Duration>,
        request_id: String,
    ) -> Self {
        Self {
            client,
            method,
            metadata,
            deadline: timeout.and_then(deadline),
            request_id,
            max_retries: 0,
        }
    }

    /// What the lines of this call in the log have in common.
    pub(crate) fn name(&self) -> CallName {
        self.client.call_name(self.method, &self.request_id)
    }

    /// The line in the log, which is written at the end of the call.
    pub(crate) fn log(&self) -> CallLog {
        CallLog::begin(self.name())
    }

    /// The error of a status.
    pub(crate) fn failed(&self, status: Status) -> Error {
        failed(
            status,
            self.client.target(),
            self.deadline,
            &self.request_id,
        )
    }

    /// The request of one attempt, with the deadline that is left.
    pub(crate) fn request<Message>(&self, message: Message) -> Request<Message> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        request
    }

    /// Waits for a future until the deadline.
    pub(crate) async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        within(self.deadline, &self.request_id, future).await
    }

    /// Whether there is time for another attempt after this delay.
    pub(crate) fn has_time_for(&self, delay: Duration) -> bool {
        let next = Instant::now().checked_add(delay);
        self.deadline
            .is_none_or(|deadline| next.is_some_and(|next| next < deadline))
    }

    /// Sends a request once.
    pub(crate) async fn once<Message, Response, Sending>(
        &self,
        message: Message,
        send: impl FnOnce(Request<Message>) -> Sending,
    ) -> Result<Response, Error>
    where
        Sending: Future<Output = Result<Response, Status>>,
    {
        let sent = self.within(send(self.request(message))).await?;
        sent.map_err(|status| self.failed(status))
    }

    /// Sends a request until it succeeds or must not be retried.
    pub(crate) async fn attempt<Message, Response, Sending>(
        &self,
        message: Message,
        send: impl Fn(Request<Message>) -> Sending,
    ) -> Result<Answered<Response>, Error>
    where
        Message: Clone,
        Sending: Future<Output = Result<Response, Status>>,
    {
        let (mut attempts, mut retries_left) = (Attempts::first(), self.max_retries);
        loop {
            let error = match self.within(send(self.request(message.clone()))).await? {
                Ok(response) => {
                    return Ok(Answered {
                        response,
                        retries_left,
                    });
                }
                Err(status) => self.failed(status),
            };
            let delay = match attempts.next(error.status(), self.client.credit()) {
                None => throttle_delay(&error, &mut retries_left),
                delay => delay,
            };
            match delay.filter(|delay| self.has_time_for(*delay)) {
                Some(delay) => {
                    self.name().retry(delay, &error);
                    sleep(delay).await;
                }
                None => return Err(error),
            }
        }
    }
}

/// Waits for a future until a deadline.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    request_id: &str,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future)
            .await
            .map_err(|_| Error::deadline(request_id)),
        None => Ok(future.await),
    }
}
