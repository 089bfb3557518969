//! One call of the live service: sends a queue of messages, and resumes the session once when its
//! stream breaks.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::grpc::pb;
use crate::grpc::pb::converse_live_response::Event;
use crate::secret::Secret;

use super::error::Failure;
use super::gateway::Gateway;
use super::live_method::LiveMethod;

/// The messages that are sent ahead of flow control.
const MESSAGES_AHEAD: usize = 2;

/// How often a broken stream is resumed before the command gives up.
const RESUME_ATTEMPTS: u32 = 5;

/// The delay between these attempts. Together they are within the gateway's resume window.
const RESUME_DELAY: Duration = Duration::from_secs(1);

/// The messages to send, in order. The end of the queue ends the input; a failure ends the call.
pub(crate) type Inputs<T> = mpsc::Receiver<Result<T, Failure>>;

/// A queue of messages to send.
pub(crate) fn inputs<T>() -> (mpsc::Sender<Result<T, Failure>>, Inputs<T>) {
    mpsc::channel(MESSAGES_AHEAD)
}

/// What happened next.
pub(crate) enum Step {
    /// An event.
    Event(Box<pb::ConverseLiveResponse>),
    /// The stream broke, and the session may be resumed.
    Broken(Failure),
    /// The session has ended.
    End,
}

/// An open call.
pub(crate) struct LiveCall<'a, M: LiveMethod> {
    gateway: &'a Gateway,
    timeout: Option<Duration>,
    events: Streaming<M::Output>,
    /// The request stream; `None` once it is closed.
    requests: Option<mpsc::Sender<M::Input>>,
    inputs: Inputs<M::Input>,
    /// The message that waits for flow control.
    pending: Option<M::Input>,
    /// Id and resume token of the session.
    session: Option<(String, Secret)>,
    sequence: i32,
    /// Whether anything was received since the last resumption.
    has_progress: bool,
    ended: bool,
}

/// The two directions of a stream.
type Stream<M> = (
    mpsc::Sender<<M as LiveMethod>::Input>,
    Streaming<<M as LiveMethod>::Output>,
);

async fn open<M: LiveMethod>(
    gateway: &Gateway,
    first: M::Input,
    timeout: Option<Duration>,
) -> Result<Stream<M>, Failure> {
    let (requests, messages) = mpsc::channel(MESSAGES_AHEAD);
    // The queue is empty.
    let _ = requests.send(first).await;
    let request = gateway.request(ReceiverStream::new(messages), timeout);
    let called = tokio::select! {
        called = M::call(gateway, request) => called,
        failure = gateway.silent() => return Err(failure),
    };
    match called {
        Ok(response) => Ok((requests, response.into_inner())),
        Err(status) => Err(gateway.explained(status.into()).await),
    }
}

impl<'a, M: LiveMethod> LiveCall<'a, M> {
    /// Opens a session with this setup.
    pub(crate) async fn open(
        gateway: &'a Gateway,
        setup: M::Input,
        inputs: Inputs<M::Input>,
        timeout: Option<Duration>,
    ) -> Result<Self, Failure> {
        let (requests, events) = open::<M>(gateway, setup, timeout).await?;
        Ok(Self {
            gateway,
            timeout,
            events,
            requests: Some(requests),
            inputs,
            pending: None,
            session: None,
            sequence: 0,
            has_progress: false,
            ended: false,
        })
    }

    /// Sends messages until an event arrives. It can be dropped at any time without a loss.
    pub(crate) async fn next(&mut self) -> Result<Step, Failure> {
        loop {
            let is_pending = self.pending.is_some();
            let takes_input = !is_pending && self.requests.is_some();
            let (requests, pending) = (&self.requests, &mut self.pending);
            let sending = async {
                let Some(requests) = requests else {
                    return std::future::pending().await;
                };
                let permit = requests.reserve().await.ok();
                let sent = permit.zip(pending.take());
                sent.map(|(permit, message)| permit.send(message)).is_some()
            };
            tokio::select! {
                received = self.events.message() => return self.received(received),
                is_open = sending, if is_pending => if !is_open {
                    // The stream has ended, and says why.
                    self.requests = None;
                },
                input = self.inputs.recv(), if takes_input => match input {
                    Some(input) => self.pending = Some(input?),
                    None => self.requests = None,
                },
            }
        }
    }

    fn received(
        &mut self,
        received: Result<Option<M::Output>, tonic::Status>,
    ) -> Result<Step, Failure> {
        match received {
            Ok(Some(output)) => {
                let response = M::event(output);
                self.notice(&response);
                Ok(Step::Event(Box::new(response)))
            }
            Ok(None) if self.ended => Ok(Step::End),
            Ok(None) => {
                let message = "the stream ended without its last event";
                Err(Failure::failed("INTERNAL", message))
            }
            Err(status) => {
                let failure = Failure::from(status);
                // Every error of a gateway has a reason, and is final.
                let is_broken = failure.reason.is_empty() && self.session.is_some();
                match is_broken && self.has_progress {
                    true => Ok(Step::Broken(failure)),
                    false => Err(failure),
                }
            }
        }
    }

    fn notice(&mut self, response: &pb::ConverseLiveResponse) {
        self.sequence = self.sequence.max(response.sequence);
        match &response.event {
            Some(Event::SessionStarted(started)) => {
                let token = Secret::new(started.resume_token.as_str());
                self.session = Some((started.session_id.clone(), token));
                self.has_progress |= !started.resumed;
            }
            Some(Event::ResponseCompleted(_)) => {
                self.has_progress = true;
                // Without space, a later one confirms more.
                if let Some(requests) = &self.requests {
                    let _ = requests.try_send(M::acknowledge(self.sequence));
                }
            }
            Some(Event::SessionEnded(_)) => self.ended = true,
            _ => self.has_progress = true,
        }
    }

    /// Resumes the session after its stream broke. Audio that was on its way is lost.
    ///
    /// # Errors
    ///
    /// If the gateway cannot be reached, or no longer has the session.
    pub(crate) async fn resume(&mut self, broken: Failure) -> Result<(), Failure> {
        let Some((session_id, token)) = &self.session else {
            return Err(broken);
        };
        let mut failure = broken;
        for _ in 0..RESUME_ATTEMPTS {
            let resume = pb::ResumeSession {
                session_id: session_id.clone(),
                token: token.expose().to_owned(),
                last_sequence: self.sequence,
            };
            match open::<M>(self.gateway, M::resume(resume), self.timeout).await {
                Ok((requests, events)) => {
                    // An input that has ended is ended on this stream, too.
                    let is_read = self.inputs.is_closed() && self.inputs.is_empty();
                    let is_open = !is_read || self.pending.is_some();
                    self.requests = is_open.then_some(requests);
                    self.events = events;
                    self.has_progress = false;
                    return Ok(());
                }
                Err(refused) if !refused.reason.is_empty() => return Err(refused),
                Err(unreached) => failure = unreached,
            }
            tokio::time::sleep(RESUME_DELAY).await;
        }
        Err(failure)
    }
}
