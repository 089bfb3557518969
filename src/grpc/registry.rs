//! The services that the gateway offers, and the errors of statuses made by tonic in them.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::sync::watch;
use tower::Service;

use crate::error::Error;
use crate::live::LiveSessions;
use crate::memory::{self, CallMemory, Claim, Kind};
use crate::relay::Relay;
use crate::relay::admission::{Admission, Held, Permit};
use crate::server::phase::Phase;

use super::body_limits::{Elements, Limits};
use super::body_timeout::Clocked;
use super::call_context::CallContext;
use super::checked_request::{checked, refused, unsupported_encoding};
use super::config::GrpcConfig;
use super::conversation::Conversation;
use super::count_limits::Schema;
use super::explained::{explained, no_method};
use super::health::Checks;
use super::large_messages::Turns;
use super::live_calls::LiveCalls;
use super::media_service::Media;
use super::method::{
    CALL_SERVICE, CONVERSATION_SERVICE, HEALTH, LIVE_SERVICE, MEDIA_SERVICE, MODEL_SERVICE, Method,
    REFLECTION_V1, REFLECTION_V1ALPHA,
};
use super::pb::conversation_service_server::ConversationServiceServer;
use super::pb::health::health_server::HealthServer;
use super::pb::media_service_server::MediaServiceServer;
use super::reflection::{self, REFLECTION_BYTES, Reflection, Requests};
use super::service::{Access, Answering, ServiceSet};
use super::unpack::Encoding;
use crate::server::call_clock;
use crate::server::connection::STREAM_WINDOW;

/// The maximum message of health: the name of a service.
const HEALTH_BYTES: usize = 4 * 1024;

/// The maximum share of these permits of one connection or address: half, so that the others
/// together have as many.
const WATCHES_SHARE_PERCENT: u32 = 50;
const TOO_MANY_WATCHES: &str = "too many watches of health without credentials: watch once for a \
     connection, show credentials, or use Check, which is always answered";

/// The size of an upload's message beside its chunk: the tag and length of one field, and the
/// file's description.
const CHUNK_ENVELOPE: usize = 4 * 1024;

/// The services that the gateway offers.
pub struct Registry {
    pub(super) relay: Relay,
    live: LiveCalls,
    phase: watch::Receiver<Phase>,
    reflection_v1: Reflection,
    reflection_v1alpha: Reflection,
    schema: Arc<Schema>,
    /// The types of the two requests of a conversation, unary and streamed.
    requests: [Option<usize>; 2],
    turns: Turns,
    /// The permits of watches without credentials.
    watches: Admission,
}

impl Registry {
    /// The services of this relay, whose health is this phase.
    pub fn new(
        relay: Relay,
        sessions: LiveSessions,
        phase: watch::Receiver<Phase>,
    ) -> Result<Self, Error> {
        let (reflection_v1, reflection_v1alpha) = reflection::services()?;
        let places = relay.memory().limit_of(Kind::Watches) / memory::GRAIN;
        let schema = Arc::new(Schema::new()?);
        Ok(Self {
            watches: Admission::new(places, WATCHES_SHARE_PERCENT),
            live: LiveCalls::new(relay.clone(), sessions),
            relay,
            phase,
            reflection_v1,
            reflection_v1alpha,
            requests: [
                "dashgate.v1.ConverseRequest",
                "dashgate.v1.ConverseStreamRequest",
            ]
            .map(|name| schema.find(name)),
            schema,
            turns: Turns::default(),
        })
    }

    /// Admits a call of one of these methods. Its message is not buffered before, so that rejected
    /// calls take no memory.
    fn enter(&self, context: &CallContext) -> Result<Held, Error> {
        self.relay
            .enter(|| context.report(), (&context.identity, context.at))
    }

    /// Acquires the permit of a call, and charges the memory of its kind.
    fn admit(&self, kind: Kind, context: &CallContext) -> Result<(Held, CallMemory), Error> {
        let held = self.enter(context)?;
        let report = || context.report();
        let share = self
            .relay
            .charge(kind, report, (context.identity.share, context.at))?;
        Ok((held, CallMemory::new(share)))
    }

    /// The limits of a message of this many bytes.
    pub(super) fn limits(&self, message_bytes: usize, context: &CallContext) -> Limits {
        Limits {
            message_bytes,
            advice: None,
            elements: None,
            stall_timeout: None,
            turns: self.turns.of(context.identity.share),
        }
    }

    /// How the elements of this message are counted.
    fn elements(&self, message: Option<usize>, max_weight: usize) -> Option<Elements> {
        Some(Elements {
            schema: Arc::clone(&self.schema),
            message: message?,
            max_weight,
        })
    }

    fn conversation(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering {
        let limit = settings.max_request_bytes;
        let (held, memory) = match self.admit(Kind::Requests, &context) {
            Ok(admitted) => admitted,
            Err(error) => return refused(request, error),
        };
        let [whole, streamed] = self.requests;
        let message = match context.method {
            Some(Method::Converse) => whole,
            _ => streamed,
        };
        let limits = Limits {
            advice: Some("send large media with MediaService.UploadMedia"),
            // The elements may take as much memory as the bytes.
            elements: self.elements(message, limit),
            ..self.limits(limit, &context)
        };
        let report = Some(self.relay.clone());
        let request = checked(request, limits, &memory, &context, report);
        let service = Conversation {
            relay: self.relay.clone(),
            settings,
            context,
            held: Some(held),
            memory,
        };
        let mut server = ConversationServiceServer::new(service).max_decoding_message_size(limit);
        explained(server.call(request))
    }

    fn media(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering {
        let limit = settings.max_chunk_bytes;
        let (held, memory) = match self.admit(Kind::Uploads, &context) {
            Ok(admitted) => admitted,
            Err(error) => return refused(request, error),
        };
        // The storage may be slow, while the caller sends as much as the window of its call allows.
        let mut window = self.relay.memory().share(Kind::Uploads);
        if let Err(error) = window.fit(STREAM_WINDOW as usize, Claim::New) {
            self.relay.refuse(context.report(), context.at, &error);
            return refused(request, error);
        }
        let limits = self.limits(limit + CHUNK_ENVELOPE, &context);
        // Later errors are reported with the upload.
        let request = checked(request, limits, &memory, &context, None);
        let service = Media {
            relay: self.relay.clone(),
            settings,
            context,
            held,
            memory,
            window,
        };
        let mut server =
            MediaServiceServer::new(service).max_decoding_message_size(limit + CHUNK_ENVELOPE);
        explained(server.call(request))
    }

    fn health(&self, request: Request<Clocked>, context: Box<CallContext>) -> Answering {
        // Authenticated callers are not rejected because of unauthenticated ones.
        let known = context.identity.name().is_some();
        let watches = context.method == Some(Method::HealthWatch);
        let (memory, place) = match (known, watches) {
            (true, _) => (self.memory_of(Kind::Requests), None),
            (false, false) => (self.memory_of(Kind::Open), None),
            (false, true) => match self.open_watch(&context) {
                Ok((memory, place)) => (memory, Some(Arc::new(place))),
                Err(error) => return refused(request, error),
            },
        };
        let limits = self.limits(HEALTH_BYTES, &context);
        let request = checked(request, limits, &memory, &context, None);
        let phase = self.phase.clone();
        let checks = Checks {
            phase,
            context,
            memory,
            place,
        };
        let mut server = HealthServer::new(checks).max_decoding_message_size(HEALTH_BYTES);
        explained(server.call(request))
    }

    /// Reflection clients may pause between two requests, but not within one, and not beyond the
    /// deadline of a stream.
    fn reflection(
        &self,
        request: Request<Clocked>,
        context: &CallContext,
        mut service: Reflection,
        settings: &GrpcConfig,
    ) -> Answering {
        let clock = &context.clock;
        clock.keep_deadline(context.at + context.timeout(settings.stream_timeout, settings));
        let limits = Limits {
            stall_timeout: Some(settings.request_body_timeout),
            ..self.limits(REFLECTION_BYTES, context)
        };
        let request = request.map(|body| body.until_ended(Arc::clone(clock)));
        let memory = self.memory_of(Kind::Open);
        let request = checked(request, limits, &memory, context, None);
        let (head, body) = request.into_parts();
        let (requests, body) = Requests::of(body);
        let answering = service.call(Request::from_parts(head, body));
        let answering = explained(answering);
        let request_id = Arc::clone(&context.request_id);
        Box::pin(async move {
            let response = answering.await?;
            Ok(response.map(|body| requests.explain(body, request_id)))
        })
    }

    /// The memory of a call without a caller: nothing is charged while its request is small and
    /// complete.
    fn memory_of(&self, kind: Kind) -> CallMemory {
        CallMemory::new(self.relay.memory().share(kind))
    }

    /// The memory and the permit of a watch without credentials. No connection gets all permits,
    /// nor does a remote address; and calls that hold all other memory do not prevent watches.
    fn open_watch(&self, context: &CallContext) -> Result<(CallMemory, Permit), Error> {
        let place = self.watches.admit(context.identity.share);
        let place = place.map_err(|error| Error::new(error.reason(), TOO_MANY_WATCHES))?;
        let mut share = self.relay.memory().share(Kind::Watches);
        share.fit(memory::GRAIN, Claim::Running)?;
        Ok((CallMemory::new(share), place))
    }
}

impl ServiceSet for Registry {
    fn shutdown(&self) -> watch::Receiver<bool> {
        self.relay.shutdown()
    }

    fn access(&self, service: &str, settings: &GrpcConfig) -> Option<Access> {
        match service {
            CONVERSATION_SERVICE | CALL_SERVICE | MEDIA_SERVICE | MODEL_SERVICE | LIVE_SERVICE => {
                Some(Access::Known)
            }
            // Load balancers and orchestrators use it without credentials.
            HEALTH => Some(Access::Open),
            REFLECTION_V1 | REFLECTION_V1ALPHA => Some(match settings.open_reflection {
                true => Access::Open,
                false => Access::Known,
            }),
            _ => None,
        }
    }

    fn answer(
        &self,
        mut request: Request<Clocked>,
        mut context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering {
        let Some(called) = context.method else {
            return refused(request, no_method());
        };
        match Encoding::take(request.headers_mut()) {
            Some(encoding) => context.encoding = encoding,
            None => return unsupported_encoding(request, Arc::clone(&context.request_id)),
        }
        match called {
            Method::Converse | Method::ConverseStream => {
                self.conversation(request, context, settings)
            }
            Method::UploadMedia => self.media(request, context, settings),
            Method::ConverseLive | Method::SynthesizeLive => {
                let limits = self.limits(settings.max_request_bytes, &context);
                self.live.answer(request, context, settings, limits)
            }
            _ if context.timeout == Some(Duration::ZERO) => {
                refused(request, call_clock::too_late())
            }
            Method::ListModels | Method::GetModel => self.models(request, context, settings),
            Method::CancelCall => self.calls(request, context, settings),
            Method::CreateConversation
            | Method::GetConversation
            | Method::ListConversations
            | Method::UpdateConversation
            | Method::DeleteConversation
            | Method::ListTurns
            | Method::DeleteTurn
            | Method::ForkConversation
            | Method::CancelTurn => self.stored_conversations(request, context, settings),
            Method::HealthCheck | Method::HealthList | Method::HealthWatch => {
                self.health(request, context)
            }
            Method::ReflectionV1 => {
                let service = self.reflection_v1.clone();
                self.reflection(request, &context, service, &settings)
            }
            Method::ReflectionV1Alpha => {
                let service = self.reflection_v1alpha.clone();
                self.reflection(request, &context, service, &settings)
            }
        }
    }
}
