//! The body of a response as passed to the transport: its bytes are counted until they are written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;

use super::call_clock::{CallClock, Chunk};
use super::open_calls::Open;

/// A body whose bytes are counted until the transport has written them. Its call is open until this
/// is dropped.
pub(super) struct TransportBody<B> {
    body: B,
    clock: Arc<CallClock>,
    call: Open,
}

impl<B> TransportBody<B> {
    /// The body of this call, with its clock.
    pub(super) fn new(body: B, clock: Arc<CallClock>, call: Open) -> Self {
        Self { body, clock, call }
    }
}

impl<B> Drop for TransportBody<B> {
    fn drop(&mut self) {
        self.clock.over(&self.call);
    }
}

impl<B> HttpBody for TransportBody<B>
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Chunk;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, Status>>> {
        self.clock.asked();
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let clock = &self.clock;
        Poll::Ready(
            polled.map(|frame| frame.map(|frame| frame.map_data(|bytes| clock.hand_out(bytes)))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
