//! The body of a request, with timeouts: a caller that stops sending must not hold its permit, and
//! gets a status when the gateway shuts down. Its messages are counted as they pass.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic_types::StatusExt;

use crate::error::{Error, Reason};
use crate::relay::{shutting_down, until_shutdown};

use super::server_metrics::RequestCounter;
use super::status;
use crate::server::call_clock::CallClock;
use crate::server::grpc_web::{BodyError, WebRequest};

/// A body that fails when it pauses for too long, when the call's deadline passes, or when the
/// gateway shuts down.
pub struct Clocked {
    body: WebRequest,
    counter: RequestCounter,
    request_id: Arc<str>,
    stall_timeout: Duration,
    last_frame: Instant,
    /// Whether data came since the timer was set; the time is taken at the next pause. Most
    /// requests have none.
    moved: bool,
    deadline: Instant,
    /// `None` before the first pause: most requests arrive whole.
    alarm: Option<Pin<Box<Sleep>>>,
    shutdown: Shutdown,
}

/// The signal of the gateway's shutdown, observed from the first pause on.
struct Shutdown {
    signal: Option<watch::Receiver<bool>>,
    observed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Shutdown {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if let Some(signal) = self.signal.take() {
            self.observed = Some(Box::pin(until_shutdown(signal)));
        }
        let Some(observed) = &mut self.observed else {
            return Poll::Pending;
        };
        ready!(observed.as_mut().poll(cx));
        self.observed = None;
        Poll::Ready(shutting_down())
    }
}

impl Clocked {
    /// Adds timeouts to the body of a call that arrived at the last of these times.
    pub fn new(
        body: WebRequest,
        counter: RequestCounter,
        request_id: Arc<str>,
        (stall_timeout, deadline, came): (Duration, Instant, Instant),
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self {
            body,
            counter,
            request_id,
            stall_timeout,
            last_frame: came,
            moved: false,
            deadline,
            alarm: None,
            shutdown: Shutdown {
                signal: Some(shutdown),
                observed: None,
            },
        }
    }

    /// The body without its timeouts, until the response's clock ends the call.
    pub fn until_ended(self, clock: Arc<CallClock>) -> UntilEnded {
        UntilEnded {
            body: self.body,
            counter: self.counter,
            clock,
            request_id: self.request_id,
            shutdown: self.shutdown,
        }
    }

    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if let Poll::Ready(error) = self.shutdown.poll(cx) {
            return Poll::Ready(error);
        }
        if std::mem::take(&mut self.moved) {
            self.last_frame = Instant::now();
        }
        let due = || self.deadline.min(self.last_frame + self.stall_timeout);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(due())));
        loop {
            // A body that floods consumes the task's budget, and a timer without budget never
            // fires.
            let fired = alarm.as_mut().poll(cx).is_ready();
            if !fired && (coop::has_budget_remaining() || Instant::now() < due()) {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(too_late());
            }
            let due = due();
            if now >= due {
                return Poll::Ready(stalled());
            }
            alarm.as_mut().reset(due);
        }
    }
}

/// A body that is read while the response lasts, and ends with it.
pub struct UntilEnded {
    body: WebRequest,
    counter: RequestCounter,
    clock: Arc<CallClock>,
    request_id: Arc<str>,
    shutdown: Shutdown,
}

impl Body for UntilEnded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.clock.has_ended() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            self.clock.wake_request(cx);
            // It may have been ended in between.
            if self.clock.has_ended() {
                return Poll::Ready(None);
            }
            let error = ready!(self.shutdown.poll(cx));
            let status = status::status(&error, &self.request_id, false);
            return Poll::Ready(Some(Err(status)));
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.counter.count(frame);
        }
        polled.map_err(|wrong| receive_status(&wrong))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The status of a body that cannot be read.
fn receive_status(wrong: &BodyError) -> Status {
    match wrong {
        BodyError::NotText => Status::internal("the body is not base64"),
        // Not CANCELLED: tonic considers that a clean end, and half an upload would be accepted as
        // complete.
        BodyError::Gone => Status::aborted("the caller disconnected"),
    }
}

/// The error that a status of [`Clocked`] was made of.
pub fn error_of(status: &Status) -> Option<Error> {
    let reason = status.get_error_details().error_info()?.reason.clone();
    [too_late(), stalled(), shutting_down()]
        .into_iter()
        .find(|error| error.reason().name() == reason)
}

/// The error of a call whose deadline passes before its request is complete.
fn too_late() -> Error {
    let message = "deadline exceeded while the request was being received";
    Error::new(Reason::DeadlineExceeded, message)
}

/// The error of a caller that stopped sending.
pub fn stalled() -> Error {
    Error::new(
        Reason::RequestBodyTimeout,
        "timeout while the request was being received",
    )
}

impl Body for Clocked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.moved = true;
                self.counter.count(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(wrong))) => Poll::Ready(Some(Err(receive_status(&wrong)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let error = ready!(self.poll_clocks(cx));
                Poll::Ready(Some(Err(status::status(&error, &self.request_id, false))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
