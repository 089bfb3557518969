//! `dashgate.v1.LiveService`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message as _;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::chat::live_session::LiveInput;
use crate::error::Error;
use crate::live::event::LiveEvent;
use crate::live::{self, Attached, EventStream, Handle, InputSender, LiveSessions};
use crate::memory::CallMemory;
use crate::relay::Relay;
use crate::relay::admission::{Held, Permit};
use crate::relay::live_call::LiveRequest;
use crate::server::call_clock::{self, PendingCall};
use crate::server::connection::OutlivesAge;

use super::call_context::CallContext;
use super::config::GrpcConfig;
use super::live_setup::Opening;
use super::pb::live_service_server::LiveService;
use super::pb::{
    ConverseLiveRequest, ConverseLiveResponse, SynthesizeLiveRequest, SynthesizeLiveResponse,
    converse_live_request, synthesize_live_request,
};
use super::receive_error::receive_error;
use super::{live_event, live_input, live_setup, metadata_keys, status, stored_request};

/// What the messages belong to, in errors.
const STREAM: &str = "live session";

/// The service, for one call.
pub struct Live {
    /// The sessions.
    pub sessions: LiveSessions,
    /// Where refusals are reported.
    pub relay: Relay,
    /// The configuration.
    pub settings: Arc<GrpcConfig>,
    /// The context of this call.
    pub context: Box<CallContext>,
    /// The permit while the setup is read.
    pub entry: Entry,
    /// The memory that is charged for its messages and events.
    pub memory: CallMemory,
}

/// Whether a call may open a session.
#[derive(Debug)]
pub enum Entry {
    /// It has the permits of a call.
    Admitted(Held),
    /// It was refused, and may only resume a session. It holds a permit while its setup is read.
    Refused(Error, Permit),
}

/// How the messages of a method are converted.
trait Method: Send + 'static {
    type Request: prost::Message + 'static;
    type Response;

    /// Whether it is a conversation.
    const CONVERSES: bool;

    fn opening(first: Self::Request) -> Result<Opening, Error>;
    fn input(message: Self::Request) -> Result<LiveInput, Error>;
    fn response(sequence: i32, event: LiveEvent, request_id: &str) -> Self::Response;
}

/// ConverseLive.
struct Converse;

/// SynthesizeLive.
struct Synthesize;

impl Method for Converse {
    type Request = ConverseLiveRequest;
    type Response = ConverseLiveResponse;

    const CONVERSES: bool = true;

    fn opening(first: Self::Request) -> Result<Opening, Error> {
        match first.event {
            Some(converse_live_request::Event::Setup(setup)) => live_setup::converse(setup),
            _ => Err(live_input::no_setup()),
        }
    }

    fn input(message: Self::Request) -> Result<LiveInput, Error> {
        live_input::converse(message)
    }

    fn response(sequence: i32, event: LiveEvent, request_id: &str) -> Self::Response {
        live_event::converse(sequence, event, request_id)
    }
}

impl Method for Synthesize {
    type Request = SynthesizeLiveRequest;
    type Response = SynthesizeLiveResponse;

    const CONVERSES: bool = false;

    fn opening(first: Self::Request) -> Result<Opening, Error> {
        match first.event {
            Some(synthesize_live_request::Event::Setup(setup)) => live_setup::synthesize(setup),
            _ => Err(live_input::no_setup()),
        }
    }

    fn input(message: Self::Request) -> Result<LiveInput, Error> {
        live_input::synthesize(message)
    }

    fn response(sequence: i32, event: LiveEvent, request_id: &str) -> Self::Response {
        live_event::synthesize(sequence, event, request_id)
    }
}

#[tonic::async_trait]
impl LiveService for Live {
    type ConverseLiveStream = Events<ConverseLiveResponse>;
    type SynthesizeLiveStream = Events<SynthesizeLiveResponse>;

    async fn converse_live(
        &self,
        request: Request<Streaming<ConverseLiveRequest>>,
    ) -> Result<Response<Events<ConverseLiveResponse>>, Status> {
        self.open::<Converse>(request.into_inner()).await
    }

    async fn synthesize_live(
        &self,
        request: Request<Streaming<SynthesizeLiveRequest>>,
    ) -> Result<Response<Events<SynthesizeLiveResponse>>, Status> {
        self.open::<Synthesize>(request.into_inner()).await
    }
}

impl Live {
    async fn open<M: Method>(
        &self,
        mut messages: Streaming<M::Request>,
    ) -> Result<Response<Events<M::Response>>, Status> {
        let request_id = &self.context.request_id;
        let show_upstream = self.settings.show_upstream_messages;
        let attached = match self.opening::<M>(&mut messages).await {
            Ok((opening, bytes)) => self.attach::<M>(opening, bytes).await,
            Err(error) => {
                let report = self.context.report();
                self.relay.refuse(report, self.context.at, &error);
                Err(error)
            }
        };
        let Attached { events, inputs } =
            attached.map_err(|error| status::status(&error, request_id, show_upstream))?;
        self.context
            .clock
            .hold(Box::new(Unread(events.handle())), &self.memory);
        let pump = tokio::spawn(pump::<M>(messages, inputs, self.memory.clone()));
        let mut response = Response::new(Events {
            events,
            request_id: Arc::clone(request_id),
            show_upstream,
            pump: pump.abort_handle(),
            convert: M::response,
        });
        response.extensions_mut().insert(OutlivesAge);
        status::insert(
            response.metadata_mut(),
            metadata_keys::X_REQUEST_ID,
            request_id,
        );
        Ok(response)
    }

    /// Reads the setup. Returns its size as well.
    async fn opening<M: Method>(
        &self,
        messages: &mut Streaming<M::Request>,
    ) -> Result<(Opening, usize), Error> {
        let deadline = self.deadline();
        let until = deadline.min(Instant::now() + self.settings.request_body_timeout);
        let first = match tokio::time::timeout_at(until, messages.message()).await {
            Ok(first) => first,
            Err(_) if until == deadline => return Err(call_clock::too_late()),
            Err(_) => return Err(super::body_timeout::stalled()),
        };
        let first = first.map_err(|status| receive_error(&self.memory, &status, STREAM))?;
        let first = first.ok_or_else(live_input::no_setup)?;
        let bytes = first.encoded_len();
        let opening = M::opening(first)?;
        self.memory.decoded();
        Ok((opening, bytes))
    }

    fn deadline(&self) -> Instant {
        let longest = self.settings.live_timeout;
        let timeout = self.context.timeout.unwrap_or(longest).min(longest);
        self.context.at + timeout
    }

    async fn attach<M: Method>(&self, opening: Opening, bytes: usize) -> Result<Attached, Error> {
        let context = &self.context;
        let deadline = self.deadline();
        match opening {
            Opening::New(setup, options, conversation) => {
                let held = match &self.entry {
                    Entry::Admitted(held) => held,
                    Entry::Refused(error, _) => {
                        self.relay.refuse(context.report(), context.at, error);
                        return Err(error.clone());
                    }
                };
                if conversation.is_some() && self.relay.conversations().is_none() {
                    let error = stored_request::no_store();
                    self.relay.refuse(context.report(), context.at, &error);
                    return Err(error);
                }
                let request = LiveRequest {
                    setup: *setup,
                    conversation,
                    passing: context.passing.clone(),
                    report: context.report(),
                    held,
                    who: &context.identity,
                    arrived: context.at,
                    deadline,
                };
                let memory = (self.memory.clone(), bytes);
                self.sessions.open(request, options, memory).await
            }
            Opening::Resume(resume) => {
                let owner = context.identity.caller;
                let token = (&*resume.session_id, &*resume.token);
                let resumed = self.sessions.resume(
                    token,
                    resume.last_sequence,
                    (owner, M::CONVERSES),
                    deadline,
                );
                let resumed = resumed.await;
                let outcome = resumed.as_ref().err();
                // The session reports itself when it ends.
                self.relay.record(context.report(), context.at, outcome);
                resumed
            }
        }
    }
}

/// Passes the messages of a caller to its session, as fast as that takes them.
async fn pump<M: Method>(
    mut messages: Streaming<M::Request>,
    mut inputs: InputSender,
    memory: CallMemory,
) {
    loop {
        let (input, bytes) = match messages.message().await {
            Ok(Some(message)) => {
                let bytes = message.encoded_len();
                (M::input(message), bytes)
            }
            // The half-close means the same.
            Ok(None) => (Ok(LiveInput::Finish), 0),
            Err(status) if status.code() == Code::Aborted => return,
            Err(status) => (Err(receive_error(&memory, &status, STREAM)), 0),
        };
        let is_last = matches!(input, Ok(LiveInput::Finish) | Err(_));
        if inputs.send(input, bytes).await.is_err() || is_last {
            return;
        }
        // The session charges what it keeps.
        memory.answered();
    }
}

/// The messages of one stream.
pub struct Events<R> {
    events: EventStream,
    request_id: Arc<str>,
    show_upstream: bool,
    pump: AbortHandle,
    convert: fn(i32, LiveEvent, &str) -> R,
}

impl<R> Stream for Events<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = std::task::ready!(Pin::new(&mut self.events).poll_next(cx));
        Poll::Ready(event.map(|event| match event {
            Ok((sequence, event)) => {
                let event = match self.show_upstream {
                    true => event.with_upstream_message(),
                    false => event,
                };
                Ok((self.convert)(sequence, event, &self.request_id))
            }
            Err(error) => Err(status::status(&error, &self.request_id, self.show_upstream)),
        }))
    }
}

impl<R> Drop for Events<R> {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// A session whose stream is not read.
#[derive(Debug)]
struct Unread(Handle);

impl PendingCall for Unread {
    fn deadline(&self) -> Instant {
        self.0.deadline
    }

    fn end_at_deadline(self: Box<Self>) -> Error {
        let error = live::too_late();
        self.0.end(error.clone());
        error
    }

    fn end(self: Box<Self>, error: Error) -> Error {
        self.0.end(error.clone());
        error
    }
}
