//! A streamed answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Code, Streaming};

use crate::answer::Answer;
use crate::call::failed;
use crate::client::Client;
use crate::error::Error;
use crate::fold::Fold;
use crate::v1::converse_stream_response::Event;
use crate::v1::{ConverseStreamResponse, delta};

/// A streamed answer: a [`Stream`] of events. Dropping it cancels the call.
///
/// ```no_run
/// # async fn ask(client: dashgate_client::Client) -> Result<(), dashgate_client::Error> {
/// # let conversation = dashgate_client::Conversation::new("qwen3.6-plus");
/// let mut events = client.stream(&conversation).await?;
/// let mut texts = events.text_deltas();
/// while let Some(text) = texts.next().await {
///     print!("{}", text?);
/// }
/// let answer = events.finish().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it cancels the call"]
pub struct Events {
    /// Taken when the stream has ended, so that its resources are released.
    source: Option<Streaming<ConverseStreamResponse>>,
    client: Client,
    request_id: String,
    deadline: Option<(Instant, Pin<Box<Sleep>>)>,
    idle: Pin<Box<Sleep>>,
    fold: Fold,
    failure: Option<Error>,
}

impl Events {
    pub(crate) fn new(
        source: Streaming<ConverseStreamResponse>,
        client: Client,
        request_id: String,
        deadline: Option<Instant>,
    ) -> Self {
        let idle = Box::pin(sleep(client.idle_timeout()));
        Self {
            source: Some(source),
            client,
            request_id,
            deadline: deadline.map(|deadline| (deadline, Box::pin(sleep_until(deadline)))),
            idle,
            fold: Fold::default(),
            failure: None,
        }
    }

    /// Returns the next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<ConverseStreamResponse, Error>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// Returns a stream of the text deltas of the first answer, without empty ones.
    pub fn text_deltas(&mut self) -> TextDeltas<'_> {
        TextDeltas(self)
    }

    /// Reads the remaining events and returns the complete answer.
    ///
    /// # Errors
    ///
    /// The call failed, or the stream ended before it was complete.
    pub async fn finish(mut self) -> Result<Answer, Error> {
        while let Some(event) = self.next().await {
            event?;
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(Answer::new(self.fold.finish())),
        }
    }

    /// Returns the request id of this call.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ConverseStreamResponse, Error>>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let error = match Pin::new(source).poll_next(context) {
            Poll::Ready(Some(Ok(event))) => {
                let idle = Instant::now().checked_add(self.client.idle_timeout());
                if let Some(idle) = idle {
                    self.idle.as_mut().reset(idle);
                }
                self.fold.add(&event);
                return Poll::Ready(Some(Ok(event)));
            }
            Poll::Ready(Some(Err(status))) => {
                let deadline = self.deadline.as_ref().map(|(deadline, _)| *deadline);
                failed(status, deadline, &self.request_id)
            }
            Poll::Ready(None) if self.fold.is_complete() => {
                self.client.credit().earn();
                self.source = None;
                return Poll::Ready(None);
            }
            Poll::Ready(None) => {
                let message = "the stream ended before the answer was complete";
                self.fault(Code::Internal, "STREAM_TRUNCATED", message)
            }
            Poll::Pending => ready!(self.poll_clocks(context)),
        };
        let error = match self.fold.has_output() {
            true => error.after_output(),
            false => error,
        };
        self.source = None;
        self.failure = Some(error.clone());
        Poll::Ready(Some(Err(error)))
    }

    fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if let Some((_, clock)) = &mut self.deadline
            && clock.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Error::deadline(&self.request_id));
        }
        ready!(self.idle.as_mut().poll(context));
        let span = self.client.idle_timeout();
        let message = format!("nothing came for {span:?}, not even a heartbeat");
        Poll::Ready(self.fault(Code::DeadlineExceeded, "STREAM_IDLE", &message))
    }

    fn fault(&self, code: Code, reason: &str, message: &str) -> Error {
        Error::of_client(code, reason, message, &self.request_id)
    }
}

impl Stream for Events {
    type Item = Result<ConverseStreamResponse, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context)
    }
}

/// The text deltas of an answer: also a [`Stream`].
#[derive(Debug)]
pub struct TextDeltas<'a>(&'a mut Events);

impl TextDeltas<'_> {
    /// Returns the next text delta; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<String, Error>> {
        poll_fn(|context| self.poll_text(context)).await
    }

    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<String, Error>>> {
        loop {
            let event = match ready!(self.0.poll_event(context)) {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            if let Some(Event::Delta(delta)) = event.event
                && delta.choice_index == 0
                && let Some(delta::Part::Text(text)) = delta.part
                && !text.is_empty()
            {
                return Poll::Ready(Some(Ok(text)));
            }
        }
    }
}

impl Stream for TextDeltas<'_> {
    type Item = Result<String, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_text(context)
    }
}
