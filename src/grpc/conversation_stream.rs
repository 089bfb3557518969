//! The stream of `ConverseStream`: the events of a reply as messages, and heartbeats in between.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::Status;

use crate::chat::event::Event;
use crate::memory::{self, CallMemory};
use crate::relay::reply::Reply;

use super::config::GrpcConfig;
use super::pb::converse_stream_response::Event as Sent;
use super::pb::{ConverseStreamResponse, Heartbeat};
use super::response;
use super::status;

/// The messages of one stream. Polls the reply, which polls DashScope: no task and no queue
/// between.
pub struct Events {
    reply: Reply,
    first: Option<Event>,
    request_id: Arc<str>,
    show_upstream: bool,
    sequence: i32,
    resumable: bool,
    heartbeat_after: Duration,
    last_sent: Instant,
    alarm: Pin<Box<Sleep>>,
    over: bool,
    memory: CallMemory,
    /// The bytes charged for the latest event.
    charged: usize,
}

impl Events {
    /// The messages of a reply, after its first event if it has come.
    pub(super) fn new(
        (reply, first): (Reply, Option<Event>),
        request_id: Arc<str>,
        (after, resumable): (i32, bool),
        settings: &GrpcConfig,
        memory: CallMemory,
    ) -> Self {
        let heartbeat_after = settings.heartbeat_after;
        Self {
            reply,
            first,
            request_id,
            show_upstream: settings.show_upstream_messages,
            sequence: after,
            resumable,
            heartbeat_after,
            last_sent: Instant::now() - heartbeat_after,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            over: false,
            memory,
            charged: 0,
        }
    }

    /// A message. Heartbeats have no number of their own, because those of a resumed stream would
    /// differ.
    fn number(&mut self, event: Sent) -> ConverseStreamResponse {
        if !matches!(event, Sent::Heartbeat(_)) {
            // No stream has this many events.
            self.sequence = self.sequence.saturating_add(1);
        }
        self.last_sent = Instant::now();
        ConverseStreamResponse {
            sequence: self.sequence,
            event: Some(event),
        }
    }

    /// Charges an event until the next is polled: its encoded form exists at the same time. The
    /// base charge of a call covers small events.
    fn charge(&mut self, event: &Event) -> Result<(), Status> {
        let held = 2 * event.weight();
        let held = held.saturating_sub(memory::CALL);
        if held == self.charged {
            return Ok(());
        }
        self.charged = held;
        self.memory.answer(held).map_err(|error| {
            self.over = true;
            let error = self.reply.end(error);
            status::status(&error, &self.request_id, self.show_upstream)
        })
    }

    fn message(&mut self, event: Event) -> Result<ConverseStreamResponse, Status> {
        self.charge(&event)?;
        self.over |= matches!(event, Event::End(_));
        let about = (&*self.request_id, self.resumable);
        let sent = response::event(event, about, || self.reply.timing());
        Ok(self.number(sent))
    }

    /// Waits until nothing was sent for a while. The timer is reset only when it fires, so that an
    /// event costs no work on the timer wheel.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let due = self.last_sent + self.heartbeat_after;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(due);
        }
    }
}

impl Stream for Events {
    type Item = Result<ConverseStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(self.message(first)));
        }
        match Pin::new(&mut self.reply).poll_next(cx) {
            Poll::Ready(Some(Ok(event))) => Poll::Ready(Some(self.message(event))),
            Poll::Ready(Some(Err(error))) => {
                self.over = true;
                let status = status::status(&error, &self.request_id, self.show_upstream);
                Poll::Ready(Some(Err(status)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                let heartbeat = self.number(Sent::Heartbeat(Heartbeat {}));
                // A heartbeat is sent only after further silence, so the timer must be polled
                // again.
                let due = self.last_sent + self.heartbeat_after;
                self.alarm.as_mut().reset(due);
                Poll::Ready(Some(Ok(heartbeat)))
            }
        }
    }
}
