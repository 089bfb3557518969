//! The streams of a live session: a task opens them, one after the other, and reads their events.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, ready};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout_at};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::connections::Counted;
use crate::error::Error;
use crate::live_input::{Input, Messages, of_program};
use crate::live_progress::{Notice, Position, Progress};
use crate::log::CallLog;
use crate::terms::Terms;
use crate::transport::Transport;
use crate::v1::ResumeSession;
use crate::v1::live_service_client::LiveServiceClient;

/// Messages that wait in the client until flow control accepts them, so that a sender waits as long
/// as the gateway does.
const MESSAGES_AHEAD: usize = 1;
/// Events that wait in the client until they are read.
const EVENTS_AHEAD: usize = 1;

/// One method of `LiveService`: its setup message.
pub trait Protocol: Clone + Send + Sync + Unpin + 'static {
    /// The caller's messages.
    type Request: Send + 'static;
    /// The events.
    type Response: Send + 'static;

    /// The name of the method, for the log.
    const NAME: &'static str;

    /// Returns the session that this setup resumes.
    fn resumed(&self) -> Option<&ResumeSession>;
    /// Returns the first message of a stream.
    fn opening(&self, resume: Option<ResumeSession>) -> Self::Request;
    /// Opens a stream.
    fn open(
        service: LiveServiceClient<Transport>,
        request: Request<Messages<Self::Request>>,
    ) -> impl Future<Output = Opened<Self::Response>> + Send;
    /// Returns the sequence number of an event, and what the client uses of it.
    fn notice(event: &Self::Response) -> (i32, Notice<'_>);
}

/// The result of opening a stream.
pub type Opened<T> = Result<Response<Streaming<T>>, Status>;

/// What all streams of a session share.
pub(crate) struct Link<P> {
    pub(crate) terms: Terms,
    pub(crate) setup: P,
}

struct Open<P: Protocol> {
    messages: mpsc::Sender<P::Request>,
    events: Streaming<P::Response>,
    _counted: Counted,
    /// Ends when the stream accepts no more messages.
    input_end: oneshot::Receiver<()>,
}

impl<P: Protocol> Link<P>
where
    P::Request: Unpin,
{
    async fn open(&self, resume: Option<ResumeSession>) -> Result<Open<P>, Error> {
        let (service, counted) = self
            .terms
            .after_others(self.terms.client.sessions())
            .await?;
        let (messages, rest) = mpsc::channel(MESSAGES_AHEAD);
        let (open, input_end) = oneshot::channel();
        let request = self.terms.request(Messages {
            first: Some(self.setup.opening(resume)),
            rest,
            _open: open,
        });
        let opened = self.terms.within(P::open(service, request)).await?;
        let opened = opened.map_err(|status| self.terms.failed(status))?;
        Ok(Open {
            messages,
            events: opened.into_inner(),
            _counted: counted,
            input_end,
        })
    }
}

/// The receiving side of a session, and its sending side.
pub(crate) struct Ends<P: Protocol> {
    pub(crate) events: mpsc::Receiver<Result<P::Response, Error>>,
    pub(crate) input: Input<P::Request>,
    pub(crate) resumes: Arc<AtomicU32>,
    pub(crate) task: tokio::task::AbortHandle,
}

/// Opens the first stream of a session, and starts the task that reads it.
pub(crate) async fn begin<P: Protocol>(link: Link<P>) -> Result<Ends<P>, Error>
where
    P::Request: Unpin,
{
    let position = Position::of(link.setup.resumed());
    let mut log = link.terms.log();
    let first = match link.open(position.resumption()).await {
        Ok(first) => first,
        Err(error) => {
            log.end::<()>(Err(&error));
            return Err(error);
        }
    };
    let (sender, events) = mpsc::channel(EVENTS_AHEAD);
    let (input, resumes) = (Input::new(), Arc::new(AtomicU32::new(0)));
    input.replace(first.messages.clone());
    let driver = Driver {
        link,
        progress: Progress::at(position),
        events: sender,
        input: input.clone(),
        resumes: Arc::clone(&resumes),
        log,
        paused: None,
    };
    let task = tokio::spawn(driver.run(first)).abort_handle();
    Ok(Ends {
        events,
        input,
        resumes,
        task,
    })
}

struct Driver<P: Protocol> {
    link: Link<P>,
    progress: Progress,
    events: mpsc::Sender<Result<P::Response, Error>>,
    input: Input<P::Request>,
    resumes: Arc<AtomicU32>,
    log: CallLog,
    /// The error of the latest attempt, before the next one.
    paused: Option<Error>,
}

impl<P: Protocol> Driver<P>
where
    P::Request: Unpin,
{
    async fn run(mut self, first: Open<P>) {
        let ended = match self.link.terms.deadline {
            None => self.streams(first).await,
            Some(deadline) => match timeout_at(deadline, self.streams(first)).await {
                Ok(ended) => ended,
                Err(_) => Err(self.late()),
            },
        };
        match ended {
            Ok(()) => {
                self.log.end(Ok(&()));
                self.input.end(of_program("the session has ended"));
            }
            Err(error) => {
                let error = self.progress.final_error(error);
                self.log.end::<()>(Err(&error));
                self.input.end(error.clone());
                // The reader may have left.
                let _sent = self.events.send(Err(error)).await;
            }
        }
    }

    async fn streams(&mut self, first: Open<P>) -> Result<(), Error> {
        let mut stream = Ok(first);
        loop {
            let ended = match stream {
                Ok(open) => self.read(open).await,
                Err(error) => Err(error),
            };
            let Err(error) = ended else {
                return self.check_complete();
            };
            let pause = self.progress.broken(error.clone())?;
            self.resumes.fetch_add(1, Ordering::Relaxed);
            let sequence = self.progress.position.sequence();
            self.link.terms.name().resume(pause, sequence);
            self.paused = Some(error);
            sleep(pause).await;
            self.paused = None;
            let resumption = self.progress.position.resumption();
            stream = self.link.open(resumption).await;
        }
    }

    /// The error of a session whose deadline has passed. Between attempts it is that of the latest.
    fn late(&mut self) -> Error {
        let last = self.paused.take().filter(Error::is_of_connection);
        last.unwrap_or_else(|| self.link.terms.late())
    }

    fn check_complete(&self) -> Result<(), Error> {
        if self.progress.position.ended.is_some() {
            return Ok(());
        }
        let message = "the stream ended before the session";
        let id = &self.link.terms.request_id;
        Err(Error::of_client(
            Code::Internal,
            "STREAM_TRUNCATED",
            message,
            id,
        ))
    }

    /// Reads one stream to its end.
    async fn read(&mut self, open: Open<P>) -> Result<(), Error> {
        let (mut events, mut input_end) = (open.events, open.input_end);
        self.input.replace(open.messages);
        while let Some(event) = self.next(&mut events).await? {
            if let Err(event) = self.deliver(event, &mut input_end).await {
                return self.read_ended(event, events).await;
            }
        }
        Ok(())
    }

    async fn next(
        &self,
        events: &mut Streaming<P::Response>,
    ) -> Result<Option<P::Response>, Error> {
        let event = events.message().await;
        event.map_err(|status| self.link.terms.failed(status))
    }

    /// Waits until the reader takes an event. Returns it if the stream accepts no more messages
    /// meanwhile: the reader may be the one who waits to send.
    async fn deliver(
        &mut self,
        event: P::Response,
        input_end: &mut oneshot::Receiver<()>,
    ) -> Result<(), P::Response> {
        let input = &self.input;
        let lost = poll_fn(|context| match input.is_finished() {
            // Then the input ends in any case.
            true => Poll::Pending,
            false => {
                let _dropped = ready!(Pin::new(&mut *input_end).poll(context));
                match input.is_finished() {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            }
        });
        let slot = tokio::select! {
            biased;
            slot = self.events.reserve() => slot,
            () = lost => return Err(event),
        };
        let (sequence, notice) = P::notice(&event);
        // Without a slot, the reader has left, and this task is aborted.
        if self.progress.received(sequence, &notice)
            && let Ok(slot) = slot
        {
            slot.send(Ok(event));
        }
        Ok(())
    }

    /// Reads the rest of a stream that has ended, for its status; flow control bounds what it holds.
    /// If the session is resumed, the gateway sends the events again.
    async fn read_ended(
        &mut self,
        first: P::Response,
        mut events: Streaming<P::Response>,
    ) -> Result<(), Error> {
        let mut unread = vec![first];
        let ended = loop {
            match self.next(&mut events).await {
                Ok(Some(event)) => unread.push(event),
                Ok(None) => break Ok(()),
                Err(error) if self.progress.is_resumable(&error) => return Err(error),
                Err(error) => break Err(error),
            }
        };
        for event in &unread {
            self.progress.saw_output(&P::notice(event).1);
        }
        let ended = ended.map_err(|error| self.progress.final_error(error));
        let why = ended.as_ref().err().cloned();
        let why = why.unwrap_or_else(|| of_program("the session has ended"));
        self.input.end(why);
        for event in unread {
            let (sequence, notice) = P::notice(&event);
            if self.progress.received(sequence, &notice) {
                // The reader may have left.
                let _sent = self.events.send(Ok(event)).await;
            }
        }
        ended
    }
}
