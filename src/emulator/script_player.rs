//! Sends a planned response: the wait before the head, and the body that hyper polls.

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
use super::script_rule::Cut;
use super::socket::ResetSwitch;

/// A connection that a script ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionCut;

impl fmt::Display for ConnectionCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script cuts the connection here")
    }
}

impl std::error::Error for ConnectionCut {}

/// Waits for the head of a plan, and returns the response whose body sends the rest.
///
/// # Errors
///
/// If the plan ends the connection before the head; hyper then closes it.
pub(super) async fn play(
    plan: Plan,
    mut entry: Entry,
    reset_switch: ResetSwitch,
) -> Result<Response<PlannedBody>, ConnectionCut> {
    if !plan.head_delay.is_zero() {
        sleep(plan.head_delay).await;
    }
    match plan.no_head {
        None => {}
        Some(Cut::Hang) => return pending().await,
        Some(cut @ (Cut::Close | Cut::Reset)) => return Err(ended(cut, &mut entry, &reset_switch)),
    }
    entry.head(plan.status);
    let mut response = Response::new(PlannedBody {
        steps: plan.steps,
        sleep: None,
        flush: false,
        entry,
        reset_switch,
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

fn ended(cut: Cut, entry: &mut Entry, reset_switch: &ResetSwitch) -> ConnectionCut {
    match cut {
        Cut::Reset => {
            reset_switch.reset_on_close();
            entry.end("reset by script");
        }
        Cut::Close | Cut::Hang => entry.end("closed by script"),
    }
    ConnectionCut
}

/// The body of a response, step by step. Dropped when the client disconnects.
#[derive(Debug)]
pub(super) struct PlannedBody {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    flush: bool,
    entry: Entry,
    reset_switch: ResetSwitch,
}

impl Body for PlannedBody {
    type Data = Bytes;
    type Error = ConnectionCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionCut>>> {
        if std::mem::take(&mut self.flush) {
            // hyper flushes when a body is pending: so each step is a write of its own, and none is
            // lost when the connection is cut after it.
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
                    // Never woken; the end of the connection drops it.
                    self.steps.push_front(Step::Cut(Cut::Hang));
                    return Poll::Pending;
                }
                Some(Step::Cut(cut @ (Cut::Close | Cut::Reset))) => {
                    let this = &mut *self;
                    let broken = ended(cut, &mut this.entry, &this.reset_switch);
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
    }
}
