//! The settings of one call, and its attempts.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

use crate::client::Client;
use crate::error::Error;
use crate::log::{CallLog, CallName};
use crate::reach::Route;
use crate::retry::{Attempts, throttle_delay};
use crate::status::{is_late, of_connection};

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
    /// What the latest attempt was sent to.
    route: Route,
    /// Whether the deadline was over before the call.
    is_late: bool,
}

/// What came of the attempts.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) response: T,
    /// How often the call may still be made again if it is throttled.
    pub(crate) retries_left: u32,
}

/// How long five attempts take if each fails at once.
const RETRY_SPAN: Duration = Duration::from_secs(8);

/// No clock and no header has a deadline that is later: it is none.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The end of a call that begins now.
fn deadline(timeout: Duration) -> Option<Instant> {
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
            route: Route::default(),
            is_late: timeout.is_some_and(|timeout| timeout.is_zero()),
        }
    }

    /// The same with the deadline of a call that this one is a part of. It was not over before that
    /// call, whatever is left of it now.
    pub(crate) fn within_call(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline.or(self.deadline);
        self.is_late = false;
        self
    }

    /// What the lines of this call in the log have in common.
    pub(crate) fn name(&self) -> CallName {
        self.client.call_name(self.method, &self.request_id)
    }

    /// The line in the log, which is written at the end of the call.
    pub(crate) fn log(&self) -> CallLog {
        CallLog::begin(self.name())
    }

    /// The error of a status. Those of the connection name the target.
    pub(crate) fn failed(&self, status: Status) -> Error {
        let status = of_connection(status, self.client.target());
        if is_late(&status, self.is_over()) {
            return self.late();
        }
        Error::of_call(status, &self.request_id)
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_over(&self) -> bool {
        let deadline = self.deadline;
        deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The error of an attempt that this side has ended, because it took too long.
    pub(crate) fn late(&self) -> Error {
        self.unreached()
            .unwrap_or_else(|| Error::deadline(&self.request_id))
    }

    /// The error of a stream that has received nothing for the idle timeout.
    pub(crate) fn idle(&self) -> Error {
        let span = self.client.idle_timeout();
        let message = format!("nothing came for {span:?}, not even a heartbeat");
        let (code, id) = (Code::DeadlineExceeded, &self.request_id);
        self.unreached()
            .unwrap_or_else(|| Error::of_client(code, "STREAM_IDLE", &message, id))
    }

    /// The error of the latest attempt if it was not sent, because there was no connection.
    pub(crate) fn unreached(&self) -> Option<Error> {
        let is_unreached = self.route.is_unreached();
        is_unreached.then(|| Error::unreached(self.client.target(), &self.request_id))
    }

    /// The request of one attempt, with the deadline that is left.
    pub(crate) fn request<Message>(&self, message: Message) -> Request<Message> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        self.route.clear();
        request.extensions_mut().insert(self.route.clone());
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        request
    }

    /// Waits for a future until the deadline. If that was over before the call, nothing is done.
    pub(crate) async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let Some(deadline) = self.deadline else {
            return Ok(future.await);
        };
        if self.is_late {
            return Err(Error::deadline(&self.request_id));
        }
        let ended = timeout_at(deadline, future).await;
        ended.map_err(|_| self.late())
    }

    /// Waits for other calls in the same way: for a place among them, or for what they do. They may
    /// wait for the gateway.
    pub(crate) async fn after_others<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let late = match self.within(future).await {
            Ok(waited) if !self.is_over() => return Ok(waited),
            // Their end and the deadline came at once.
            Ok(_) => self.late(),
            Err(late) => late,
        };
        Err(match self.client.is_unreached() && !self.is_late {
            true => Error::unreached(self.client.target(), &self.request_id),
            false => late,
        })
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
        let mut last: Option<Error> = None;
        let mut first_failure: Option<Instant> = None;
        loop {
            let sent = self.within(send(self.request(message.clone()))).await;
            let sent = sent.map_err(|late| match last.take() {
                // The one before has the cause.
                Some(last) if self.unreached().is_some() => last,
                _ => late,
            });
            let error = match sent? {
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
            let failing = first_failure.get_or_insert_with(Instant::now).elapsed();
            match delay.filter(|delay| self.has_time_for(*delay)) {
                // Attempts to connect that take long are not made five times.
                Some(_) if failing > RETRY_SPAN && self.unreached().is_some() => return Err(error),
                Some(delay) => {
                    self.name().retry(delay, &error);
                    sleep(delay).await;
                    last = Some(error).filter(Error::is_of_connection);
                }
                None => return Err(error),
            }
        }
    }
}
