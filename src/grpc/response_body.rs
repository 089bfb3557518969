//! The body of a response, which ends with the status of its [`CallClock`]. It is below all layers
//! that change the body's bytes; the transport's own body is above and counts what is written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::status;
use crate::server::call_clock::{CallClock, MAX_UNREAD_AT_END};

/// The body from a service, until the clock ends it.
pub struct ResponseBody {
    /// `None` at its end.
    body: Option<Body>,
    /// The end, which waits until everything before it is read: trailers, or none.
    end: Option<Option<HeaderMap>>,
    /// Whether the clock ends it.
    is_cut: bool,
    clock: Arc<CallClock>,
    request_id: Arc<str>,
}

type Item = Option<Result<Frame<Bytes>, Status>>;

impl ResponseBody {
    /// Ends this body when the clock ends the call with this request id.
    pub fn new(body: Body, clock: Arc<CallClock>, request_id: Arc<str>) -> Self {
        Self {
            body: Some(body),
            end: None,
            is_cut: false,
            clock,
            request_id,
        }
    }

    /// A body without a call.
    pub fn of_no_call(body: Body) -> Self {
        Self::new(body, CallClock::new(Instant::now()), Arc::from(""))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let end = match ready!(Pin::new(body).poll_frame(cx)) {
            None => None,
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => Some(trailers),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            Some(Err(status)) => return Poll::Ready(Some(Err(status))),
        };
        self.body = None;
        self.end = Some(end);
        self.poll_end(cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        if self.clock.unread() > MAX_UNREAD_AT_END {
            self.clock.wake_response(cx);
            // It may have been written in between.
            if self.clock.unread() > MAX_UNREAD_AT_END {
                return Poll::Pending;
            }
        }
        let trailers = self.end.take().flatten();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// Ends the body with the status of the clock, unless it has ended.
    fn cut(&mut self) {
        self.is_cut = true;
        // An ended call holds nothing.
        let body = self.body.take();
        if body.is_none() && self.end.is_none() {
            return;
        }
        if let Some(error) = self.clock.error() {
            let status = status::status(&error, &self.request_id, false);
            let mut trailers = HeaderMap::new();
            // Its values are ASCII, as those of every status are.
            let _ = status.add_header(&mut trailers);
            self.end = Some(Some(trailers));
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        if !self.is_cut && self.clock.has_ended() {
            self.cut();
        }
        match self.end {
            Some(_) => self.poll_end(cx),
            None => self.poll_body(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
