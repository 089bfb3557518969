//! Plays a plan: the body that hyper polls, and what comes before its head.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::request_journal::Entry;
use super::response_plan::{Plan, Step};
use super::rule::Cut;
use super::socket::Breaker;

/// The end of a connection that a script wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script cuts the connection here")
    }
}

impl std::error::Error for Broken {}

/// Waits for the head of a plan and makes the response whose body plays the rest.
///
/// # Errors
///
/// When the plan wants the connection to end before the head. hyper then closes it.
pub(super) async fn play(
    plan: Plan,
    mut entry: Entry,
    breaker: Breaker,
) -> Result<Response<Playback>, Broken> {
    if !plan.head_delay.is_zero() {
        sleep(plan.head_delay).await;
    }
    match plan.no_head {
        None => {}
        Some(Cut::Hang) => return pending().await,
        Some(cut @ (Cut::Close | Cut::Reset)) => return Err(ended(cut, &mut entry, &breaker)),
    }
    entry.head(plan.status);
    let mut response = Response::new(Playback {
        steps: plan.steps,
        sleep: None,
        flush: false,
        entry,
        breaker,
    });
    *response.status_mut() = StatusCode::from_u16(plan.status).unwrap_or(StatusCode::OK);
    for (name, value) in plan.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

fn ended(cut: Cut, entry: &mut Entry, breaker: &Breaker) -> Broken {
    match cut {
        Cut::Reset => {
            breaker.pull();
            entry.end("reset by script");
        }
        Cut::Close | Cut::Hang => entry.end("closed by script"),
    }
    Broken
}

/// The body of a response, step by step. It is dropped when the client has gone.
#[derive(Debug)]
pub(super) struct Playback {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    flush: bool,
    entry: Entry,
    breaker: Breaker,
}

impl Body for Playback {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if std::mem::take(&mut self.flush) {
            // hyper writes what it has when a body has nothing more at once: so each step is a
            // write of its own, and none is lost when the connection is cut after it.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
            }
            match self.steps.pop_front() {
                None => {
                    self.entry.end("completed");
                    return Poll::Ready(None);
                }
                Some(Step::Wait(wait)) => self.sleep = Some(Box::pin(sleep(wait))),
                Some(Step::Send(bytes, frame)) => {
                    self.entry.sent(bytes.len(), frame);
                    if bytes.is_empty() {
                        continue;
                    }
                    self.flush = !self.steps.is_empty();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Cut(Cut::Hang)) => {
                    // Nothing wakes it but the end of the connection, which drops it.
                    self.steps.push_front(Step::Cut(Cut::Hang));
                    return Poll::Pending;
                }
                Some(Step::Cut(cut @ (Cut::Close | Cut::Reset))) => {
                    let this = &mut *self;
                    let broken = ended(cut, &mut this.entry, &this.breaker);
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
    }
}
