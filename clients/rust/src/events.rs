//! A streamed answer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Code, Streaming};

use crate::answer::Answer;
use crate::connections::Counted;
use crate::error::Error;
use crate::exclusive::Exclusive;
use crate::fold::Fold;
use crate::headers;
use crate::headers::Headers;
use crate::leave::Leave;
use crate::log::CallLog;
use crate::opening::{Open, Place, opened};
use crate::resume::{Next, Received, Resumption};
use crate::retry::throttle_delay;
use crate::terms::Terms;
use crate::v1::converse_stream_response::Event;
use crate::v1::{ConverseStreamRequest, ConverseStreamResponse};

/// How long after the deadline the status of the gateway is awaited, which has the usage so far.
const STATUS_GRACE: Duration = Duration::from_millis(250);

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
    /// Dropped before `leave`, so that the connection's stream ends first.
    source: Source,
    leave: Leave,
    resumption: Resumption,
    /// What is sent again to resume the stream. The terms are kept for the deadline.
    terms: Terms,
    request: ConverseStreamRequest,
    deadline: Option<(Instant, Pin<Box<Sleep>>)>,
    idle: Pin<Box<Sleep>>,
    fold: Fold,
    headers: Headers,
    has_event: bool,
    failure: Option<Error>,
    /// The error of the latest attempt, before the next one.
    paused: Option<Error>,
    log: Option<CallLog>,
}

/// Where events come from.
enum Source {
    Open(Box<(Streaming<ConverseStreamResponse>, Counted)>),
    /// None, until a delay is over and there is a place for another call. Nothing can be received
    /// meanwhile, so the idle timeout does not run.
    Waiting(Exclusive<Place>),
    /// Another connection.
    Opening(Exclusive<Result<Open, Error>>),
    Ended,
}

impl fmt::Debug for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Open(_) => "Open",
            Self::Waiting(_) => "Waiting",
            Self::Opening(_) => "Opening",
            Self::Ended => "Ended",
        })
    }
}

impl Events {
    pub(crate) fn new(
        open: Open,
        (terms, request): (Terms, ConverseStreamRequest),
        leave: Leave,
    ) -> Self {
        let deadline = terms.deadline;
        let mut events = Self {
            source: Source::Ended,
            leave,
            resumption: Resumption::default(),
            deadline: deadline.map(|deadline| (deadline, Box::pin(sleep_until(deadline)))),
            idle: Box::pin(sleep(terms.client.idle_timeout())),
            terms,
            request,
            fold: Fold::default(),
            headers: Headers::new(),
            has_event: false,
            failure: None,
            paused: None,
            log: None,
        };
        events.opened(open);
        events
    }

    /// Writes the line of the log when the stream ends.
    pub(crate) fn with_log(mut self, log: CallLog) -> Self {
        self.log = Some(log);
        self
    }

    fn opened(&mut self, open: Open) {
        let metadata = open.response.metadata();
        self.resumption.announced(metadata, self.request.resumable);
        headers::add(&mut self.headers, metadata);
        self.terms.max_retries = open.retries_left;
        self.source = Source::Open(Box::new((open.response.into_inner(), open.counted)));
    }

    /// Returns the next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<ConverseStreamResponse, Error>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// Reads the remaining events and returns the complete answer.
    ///
    /// # Errors
    ///
    /// The call failed, or the stream ended before it was complete.
    pub async fn finish(&mut self) -> Result<Answer, Error> {
        while let Some(event) = self.next().await {
            event?;
        }
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.assembled()),
        }
    }

    /// Returns the answer so far, also after an error; `None` before the first event that is no
    /// heartbeat. Choices that have not ended have no finish reason.
    pub fn partial(&self) -> Option<Answer> {
        self.fold.has_begun().then(|| self.assembled())
    }

    fn assembled(&self) -> Answer {
        Answer::new(self.fold.clone().finish(), self.headers.clone())
    }

    /// Returns the metadata of the response: its headers, and its trailers when the stream has ended.
    /// Binary values are left out.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the request id of this call.
    pub fn request_id(&self) -> &str {
        &self.terms.request_id
    }

    /// Returns how often this stream was tried to be resumed.
    pub fn resumes(&self) -> u32 {
        self.resumption.resumes()
    }

    pub(crate) fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ConverseStreamResponse, Error>>> {
        loop {
            let polled = match &mut self.source {
                Source::Ended => return Poll::Ready(None),
                Source::Waiting(waiting) => match waiting.poll(context) {
                    Poll::Ready(place) => {
                        self.open(place);
                        continue;
                    }
                    Poll::Pending => Poll::Pending,
                },
                Source::Opening(opening) => match opening.poll(context) {
                    Poll::Ready(Ok(open)) => {
                        self.opened(open);
                        continue;
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Pending => Poll::Pending,
                },
                Source::Open(open) => match Pin::new(&mut open.0).poll_next(context) {
                    Poll::Ready(Some(Err(status))) => {
                        Poll::Ready(Some(Err(self.terms.failed(status))))
                    }
                    Poll::Ready(Some(Ok(event))) => Poll::Ready(Some(Ok(event))),
                    Poll::Ready(None) => {
                        // They were read with the end of the stream.
                        if let Poll::Ready(Ok(Some(trailers))) =
                            pin!(open.0.trailers()).poll(context)
                        {
                            headers::add(&mut self.headers, &trailers);
                        }
                        Poll::Ready(None)
                    }
                    Poll::Pending => Poll::Pending,
                },
            };
            let error = match polled {
                Poll::Ready(Some(Ok(event))) => match self.received(&event) {
                    Received::New => return Poll::Ready(Some(Ok(event))),
                    Received::Known => continue,
                    Received::Missing(error) => return Poll::Ready(Some(Err(self.fail(error)))),
                },
                Poll::Ready(Some(Err(error))) => error,
                Poll::Ready(None) if self.fold.is_complete() => {
                    self.complete();
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => {
                    let message = "the stream ended before the answer was complete";
                    self.fault(Code::Internal, "STREAM_TRUNCATED", message)
                }
                Poll::Pending => {
                    let error = ready!(self.poll_clocks(context));
                    let error = self.resumption.ended(error);
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
            };
            let error = match self.throttled(error) {
                Ok(()) => continue,
                Err(error) => error,
            };
            let last = error.clone();
            match self.resumption.failed(error, self.fold.is_complete()) {
                Next::Resume(_) if self.terms.is_over() => {
                    let error = self.resumption.ended(last);
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
                Next::Resume(delay) => {
                    self.paused = Some(last);
                    let sequence = self.resumption.sequence();
                    self.terms.name().resume(delay, sequence);
                    self.open_after(delay);
                }
                Next::Complete => {
                    self.complete();
                    return Poll::Ready(None);
                }
                Next::Fail(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            }
        }
    }

    /// Makes the call again if it was throttled before any event, and may be.
    fn throttled(&mut self, error: Error) -> Result<(), Error> {
        if self.has_event {
            return Err(error);
        }
        match throttle_delay(&error, &mut self.terms.max_retries) {
            Some(delay) if self.terms.has_time_for(delay) => {
                self.terms.name().retry(delay, &error);
                self.open_after(delay);
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn received(&mut self, event: &ConverseStreamResponse) -> Received {
        self.has_event = true;
        self.rest();
        let received = self.resumption.received(event, self.request.resumable);
        if matches!(received, Received::New) {
            self.fold.add(event);
        }
        if self.fold.is_complete()
            && let Some(mut log) = self.log.take()
        {
            // Readers may stop here.
            log.end(Ok(&()));
        }
        let is_started = matches!(event.event, Some(Event::Started(_)));
        if self.fold.is_complete() || (is_started && !self.resumption.is_possible()) {
            self.leave.disarm();
            // Large if it has media, and not needed again.
            self.request.conversation = None;
        }
        received
    }

    /// Restarts the idle timeout.
    fn rest(&mut self) {
        let idle = Instant::now().checked_add(self.terms.client.idle_timeout());
        if let Some(idle) = idle {
            self.idle.as_mut().reset(idle);
        }
    }

    fn open_after(&mut self, delay: Duration) {
        let client = self.terms.client.clone();
        let waiting = async move {
            sleep(delay).await;
            client.conversations().await
        };
        self.source = Source::Waiting(Exclusive::new(Box::pin(waiting)));
    }

    fn open(&mut self, place: Place) {
        self.rest();
        self.paused = None;
        self.request.after_sequence = self.resumption.sequence();
        let (terms, request) = (self.terms.clone(), self.request.clone());
        let opening = async move { opened(&terms, place, request).await };
        self.source = Source::Opening(Exclusive::new(Box::pin(opening)));
    }

    fn complete(&mut self) {
        self.terms.client.credit().earn();
        self.leave.disarm();
        self.source = Source::Ended;
    }

    fn fail(&mut self, error: Error) -> Error {
        let error = error.with_headers(&self.headers);
        let error = match self.fold.has_output() {
            true => error.after_output(),
            false => error,
        };
        self.source = Source::Ended;
        self.leave.failed(&error, self.terms.is_over());
        if let Some(mut log) = self.log.take() {
            log.end::<()>(Err(&error));
        }
        self.failure = Some(error.clone());
        error
    }

    fn poll_clocks(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if let Some((deadline, clock)) = &mut self.deadline
            && clock.as_mut().poll(context).is_ready()
        {
            let end = *deadline + STATUS_GRACE;
            if matches!(self.source, Source::Open(_)) && clock.deadline() < end {
                clock.as_mut().reset(end);
                ready!(clock.as_mut().poll(context));
            }
            let last = self.paused.take().filter(Error::is_of_connection);
            return Poll::Ready(last.unwrap_or_else(|| self.terms.late()));
        }
        if matches!(self.source, Source::Waiting(_)) {
            return Poll::Pending;
        }
        ready!(self.idle.as_mut().poll(context));
        Poll::Ready(self.terms.idle())
    }

    fn fault(&self, code: Code, reason: &str, message: &str) -> Error {
        Error::of_client(code, reason, message, &self.terms.request_id)
    }
}

impl Stream for Events {
    type Item = Result<ConverseStreamResponse, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context)
    }
}
