//! Live sessions, and what a spoken conversation sends.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::Code;

use crate::call_metadata::CallMetadata;
use crate::client::Client;
use crate::error::Error;
use crate::live_input::Input;
use crate::live_progress::Position;
use crate::live_stream::{Link, Protocol, begin};
use crate::terms::Terms;
use crate::v1;
use crate::v1::converse_live_request;

/// A spoken conversation: a [`Stream`] of events, and methods that send.
///
/// A method that sends waits while the gateway accepts no more. If the connection breaks, the
/// session is resumed; an event `SessionStarted` with `resumed` then shows that the input of that
/// moment may be lost. Dropping it leaves the session.
///
/// ```no_run
/// # async fn talk(client: dashgate_client::Client) -> Result<(), dashgate_client::Error> {
/// use dashgate_client::v1::converse_live_response::Event;
///
/// let mut session = client.live("qwen3-omni-flash-realtime").await?;
/// session.send_text("Good morning.").await?;
/// session.create_response("", []).await?;
/// session.finish();
/// while let Some(event) = session.next().await {
///     if let Some(Event::ResponseCompleted(completed)) = event?.event {
///         println!("{:?}", completed.usage);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub type LiveSession = Session<v1::LiveSetup>;

/// The sending side of a [`LiveSession`], for another task. Cheap to clone.
pub type LiveSender = SessionSender<v1::LiveSetup>;

/// Text that is spoken while it is written: a [`Stream`] of events, and methods that send, as a
/// [`LiveSession`].
pub type SpeechSession = Session<v1::SynthesisSetup>;

/// The sending side of a [`SpeechSession`], for another task. Cheap to clone.
pub type SpeechSender = SessionSender<v1::SynthesisSetup>;

/// A session that is opened when it is awaited.
#[derive(Debug)]
#[must_use = "no session is opened until it is awaited"]
pub struct SessionCall<P> {
    client: Client,
    setup: P,
    timeout: Option<Duration>,
    metadata: CallMetadata,
}

impl Client {
    /// Opens a live session, speech in and speech out: `client.live("qwen3-omni-flash-realtime")
    /// .await?`, or with a [`v1::LiveSetup`].
    ///
    /// There is no deadline by default.
    pub fn live(&self, setup: impl Into<v1::LiveSetup>) -> SessionCall<v1::LiveSetup> {
        SessionCall::new(self.clone(), setup.into())
    }

    /// Opens a session that speaks a text while it is written, with a model or a
    /// [`v1::SynthesisSetup`].
    ///
    /// There is no deadline by default.
    pub fn speak(&self, setup: impl Into<v1::SynthesisSetup>) -> SessionCall<v1::SynthesisSetup> {
        SessionCall::new(self.clone(), setup.into())
    }
}

impl<P> SessionCall<P> {
    pub(crate) fn new(client: Client, setup: P) -> Self {
        Self {
            client,
            setup,
            timeout: None,
            metadata: CallMetadata::default(),
        }
    }

    /// Sets the deadline of the whole session. Default: the client's, or none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to each stream of the session. `x-request-id` sets the request id.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }
}

impl<P: Protocol> IntoFuture for SessionCall<P>
where
    P::Request: Unpin,
{
    type Output = Result<Session<P>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let timeout = self.timeout.or_else(|| self.client.timeout());
            let (metadata, request_id) = self.client.named_metadata(&self.metadata)?;
            let position = Position::of(self.setup.resumed());
            let id = request_id.clone();
            let ends = begin(Link {
                terms: Terms::new(self.client, P::NAME, metadata, timeout, id),
                setup: self.setup,
            })
            .await?;
            Ok(Session {
                events: ends.events,
                sender: SessionSender(ends.input),
                position,
                resumes: ends.resumes,
                request_id,
                task: ends.task,
            })
        })
    }
}

/// A live session: see [`LiveSession`] and [`SpeechSession`].
#[must_use = "dropping it leaves the session"]
pub struct Session<P: Protocol> {
    events: mpsc::Receiver<Result<P::Response, Error>>,
    pub(crate) sender: SessionSender<P>,
    position: Position,
    resumes: Arc<AtomicU32>,
    request_id: String,
    task: AbortHandle,
}

impl<P: Protocol> Session<P>
where
    P::Request: Unpin,
{
    /// Returns the next event; `None` after the last one. It may be dropped without loss, as in
    /// `select!`.
    pub async fn next(&mut self) -> Option<Result<P::Response, Error>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// Returns the sending side, for another task.
    pub fn sender(&self) -> SessionSender<P> {
        self.sender.clone()
    }

    /// Ends the input. Running responses complete, then the session ends. Read its events.
    pub fn finish(&self) {
        self.sender.finish();
    }

    /// Returns the request id of the session.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Returns the id of the session. Empty until its first event was read.
    pub fn session_id(&self) -> &str {
        &self.position.session_id
    }

    /// Returns how often this object has tried to resume the session.
    pub fn resumes(&self) -> u32 {
        self.resumes.load(Ordering::Relaxed)
    }

    /// Returns what a setup needs to continue the session elsewhere after the last event; `None`
    /// until the first event was read. A stream that continues the session ends this one with
    /// `ABORTED`.
    pub fn resumption(&self) -> Option<v1::ResumeSession> {
        self.position.resumption()
    }

    /// Returns the last event: usage and durations. `None` until it was read.
    pub fn ended(&self) -> Option<&v1::SessionEnded> {
        self.position.ended.as_ref()
    }

    pub(crate) fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<P::Response, Error>>> {
        let event = ready!(self.events.poll_recv(context));
        if let Some(Ok(event)) = &event {
            let (sequence, notice) = P::notice(event);
            self.position.pass(sequence, &notice);
        }
        Poll::Ready(event)
    }
}

impl<P: Protocol> Stream for Session<P>
where
    P::Request: Unpin,
{
    type Item = Result<P::Response, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context)
    }
}

impl<P: Protocol> Drop for Session<P> {
    fn drop(&mut self) {
        self.task.abort();
        let (message, id) = ("the session was dropped", &self.request_id);
        let error = Error::of_client(Code::Cancelled, "", message, id);
        self.sender.0.end(error);
    }
}

impl<P: Protocol> fmt::Debug for Session<P> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Session")
            .field("session_id", &self.position.session_id)
            .field("request_id", &self.request_id)
            .field("resumes", &self.resumes)
            .field("ended", &self.position.ended)
            .finish_non_exhaustive()
    }
}

/// The sending side of a session: see [`LiveSender`] and [`SpeechSender`].
pub struct SessionSender<P: Protocol>(pub(crate) Input<P::Request>);

impl<P: Protocol> SessionSender<P> {
    /// Ends the input. Running responses complete, then the session ends.
    pub fn finish(&self) {
        self.0.finish();
    }
}

impl<P: Protocol> Clone for SessionSender<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Protocol> fmt::Debug for SessionSender<P> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("SessionSender").finish_non_exhaustive()
    }
}

impl LiveSender {
    async fn event(&self, event: converse_live_request::Event) -> Result<(), Error> {
        let event = Some(event);
        self.0.send(v1::ConverseLiveRequest { event }).await
    }
}

impl LiveSession {
    async fn event(&self, event: converse_live_request::Event) -> Result<(), Error> {
        self.sender.event(event).await
    }
}

/// The messages of a conversation, for the session and its sending side.
macro_rules! live_messages {
    ($($owner:ty),*) => {$(
        impl $owner {
            /// Sends the next piece of audio, in the format of the setup. 100 ms are usual.
            pub async fn send_audio(&self, audio: impl Into<Bytes>) -> Result<(), Error> {
                self.event(converse_live_request::Event::Audio(audio.into())).await
            }

            /// Sends an image, JPEG, for the turn that is being spoken. Audio must precede it.
            pub async fn send_image(&self, image: impl Into<Bytes>) -> Result<(), Error> {
                self.event(converse_live_request::Event::Image(image.into())).await
            }

            /// Sends a text message. `create_response` requests the answer.
            pub async fn send_text(&self, text: impl Into<String>) -> Result<(), Error> {
                self.event(converse_live_request::Event::Text(text.into())).await
            }

            /// Ends the turn, if turns are manual.
            pub async fn commit(&self) -> Result<(), Error> {
                self.event(converse_live_request::Event::Commit(v1::CommitInput {})).await
            }

            /// Discards audio and images that are not committed.
            pub async fn clear(&self) -> Result<(), Error> {
                self.event(converse_live_request::Event::Clear(v1::ClearInput {})).await
            }

            /// Requests a response; the arguments replace those of the session. Empty ones do not.
            pub async fn create_response(
                &self,
                instructions: impl Into<String>,
                modalities: impl IntoIterator<Item = String>,
            ) -> Result<(), Error> {
                let create = v1::CreateResponse {
                    instructions: instructions.into(),
                    modalities: modalities.into_iter().collect(),
                };
                self.event(converse_live_request::Event::CreateResponse(create)).await
            }

            /// Cancels the running response. Nothing of it follows its `ResponseCompleted`.
            pub async fn cancel_response(&self) -> Result<(), Error> {
                let cancel = v1::CancelResponse {};
                self.event(converse_live_request::Event::CancelResponse(cancel)).await
            }

            /// Sends the result of a tool call. `create_response` requests the answer.
            pub async fn send_tool_result(
                &self,
                tool_call_id: impl Into<String>,
                output: impl Into<String>,
            ) -> Result<(), Error> {
                let result = v1::ToolResult {
                    tool_call_id: tool_call_id.into(),
                    output: output.into(),
                };
                self.event(converse_live_request::Event::ToolResult(result)).await
            }

            /// Changes the configuration. What is not set stays.
            pub async fn update(&self, update: v1::UpdateSession) -> Result<(), Error> {
                self.event(converse_live_request::Event::Update(update)).await
            }

            /// Removes an item of the conversation.
            pub async fn delete_item(&self, item_id: impl Into<String>) -> Result<(), Error> {
                let item_id = item_id.into();
                let delete = v1::DeleteItem { item_id };
                self.event(converse_live_request::Event::DeleteItem(delete)).await
            }
        }
    )*};
}

live_messages!(LiveSession, LiveSender);
