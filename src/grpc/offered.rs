//! The services that the gateway offers, and what tonic's own faults mean in them.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tonic_reflection::pb::{v1, v1alpha};
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::error::{Error, Reason};
use crate::memory::{CallMemory, Claim, Kind};
use crate::relay::Relay;
use crate::relay::admission::Held;

use super::arrival::Arrival;
use super::body::Clocked;
use super::call_clock;
use super::connection::STREAM_WINDOW;
use super::conversation::Conversation;
use super::element_limits::Schema;
use super::health::{Checks, Phase};
use super::media::Media;
use super::pb::conversation_service_server::ConversationServiceServer;
use super::pb::health::health_server::HealthServer;
use super::pb::media_service_server::MediaServiceServer;
use super::request_body::RequestBody;
use super::request_limits::{Caller, Elements, Limits};
use super::services::{self, Access, Answering, Services};
use super::settings::Settings;
use super::unpack::{Encoding, Turns};
use super::{names, pb, refusal};

/// The largest message of health: the name of a service.
const HEALTH_BYTES: usize = 4 * 1024;

/// The largest message of reflection: the name of a symbol or a file.
const REFLECTION_BYTES: usize = 64 * 1024;

const CONVERSATION: &str = "dashgate.v1.ConversationService";
const MEDIA: &str = "dashgate.v1.MediaService";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION_V1: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// What a message of an upload may weigh beside its chunk: the tag and length of one field, and a
/// description with its names.
const CHUNK_ENVELOPE: usize = 4 * 1024;

type Reflection = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The services that the gateway offers.
pub struct Offered {
    relay: Relay,
    phase: watch::Receiver<Phase>,
    reflection_v1: Reflection,
    reflection_v1alpha: Reflection,
    schema: Arc<Schema>,
    turns: Turns,
}

impl Offered {
    /// Services in front of this relay, whose health is this phase.
    pub fn new(relay: Relay, phase: watch::Receiver<Phase>) -> Result<Self, Error> {
        let broken = |error| {
            Error::new(Reason::GatewayBug, "the schema cannot be reflected").with_source(error)
        };
        // Each of the two knows itself; it has to be told of the other, so that both list both.
        let reflection = |other| {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
                .register_encoded_file_descriptor_set(other)
                // For debuggers that show the details of a status.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let of_v1 = reflection(v1alpha::FILE_DESCRIPTOR_SET);
        let of_v1 = of_v1.build_v1().map_err(broken)?;
        let of_v1 = of_v1.max_decoding_message_size(REFLECTION_BYTES);
        let of_v1alpha = reflection(v1::FILE_DESCRIPTOR_SET);
        let of_v1alpha = of_v1alpha.build_v1alpha().map_err(broken)?;
        let of_v1alpha = of_v1alpha.max_decoding_message_size(REFLECTION_BYTES);
        Ok(Self {
            relay,
            phase,
            reflection_v1: BoxCloneSyncService::new(of_v1),
            reflection_v1alpha: BoxCloneSyncService::new(of_v1alpha),
            schema: Arc::new(Schema::new()?),
            turns: Turns::default(),
        })
    }

    /// Admits a call of one of these methods. Its message is not gathered before that, so those
    /// that are too many take no memory.
    fn enter(
        &self,
        request: &Request<Clocked>,
        methods: &[&'static str],
        arrival: &Arrival,
    ) -> Result<Held, Error> {
        let called = request.uri().path().rsplit('/').next();
        let method = methods.iter().find(|method| called == Some(**method));
        let method = method.ok_or_else(no_method)?;
        self.relay
            .enter(|| arrival.report(method), (&arrival.identity, arrival.at))
    }

    /// Takes a place for a call, and charges the memory that a call of this kind takes.
    fn admit(
        &self,
        request: &Request<Clocked>,
        kind: Kind,
        methods: &[&'static str],
        arrival: &Arrival,
    ) -> Result<(Held, CallMemory), Error> {
        let held = self.enter(request, methods, arrival)?;
        let report = || arrival.report(methods.first().copied().unwrap_or_default());
        let share = self
            .relay
            .charge(kind, report, (arrival.identity.share, arrival.at))?;
        Ok((held, CallMemory::new(share)))
    }

    /// The limits of a message of so many bytes.
    fn limits(&self, message_bytes: usize) -> Limits {
        Limits {
            message_bytes,
            elements: None,
            stall_timeout: None,
            turns: self.turns.clone(),
        }
    }

    /// How the elements of this message are counted.
    fn elements(&self, message: &str, max_weight: usize) -> Option<Elements> {
        Some(Elements {
            schema: Arc::clone(&self.schema),
            message: self.schema.find(message)?,
            max_weight,
        })
    }

    fn conversation(
        &self,
        request: Request<Clocked>,
        arrival: Box<Arrival>,
        settings: Arc<Settings>,
    ) -> Answering {
        let limit = settings.max_request_bytes;
        let methods = ["Converse", "ConverseStream"];
        let (held, memory) = match self.admit(&request, Kind::Requests, &methods, &arrival) {
            Ok(admitted) => admitted,
            Err(error) => return refused(request, error),
        };
        let (method, message) = match request.uri().path().ends_with("/Converse") {
            true => ("Converse", "dashgate.v1.ConverseRequest"),
            false => ("ConverseStream", "dashgate.v1.ConverseStreamRequest"),
        };
        let limits = Limits {
            // What it is made of may take as much as its bytes may.
            elements: self.elements(message, limit),
            ..self.limits(limit)
        };
        let report = Some((self.relay.clone(), method));
        let request = checked(request, limits, &memory, caller(&arrival, report));
        let service = Conversation {
            relay: self.relay.clone(),
            settings,
            arrival,
            held,
            memory,
        };
        let mut server = ConversationServiceServer::new(service)
            .max_decoding_message_size(limit)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        explained(server.call(request), limit)
    }

    fn media(
        &self,
        request: Request<Clocked>,
        arrival: Box<Arrival>,
        settings: Arc<Settings>,
    ) -> Answering {
        let limit = settings.max_chunk_bytes;
        let (held, memory) = match self.admit(&request, Kind::Uploads, &["UploadMedia"], &arrival) {
            Ok(admitted) => admitted,
            Err(error) => return refused(request, error),
        };
        // Storage may take its time, and the caller sends on as far as the window of its call goes.
        let mut window = self.relay.memory().share(Kind::Uploads);
        if let Err(error) = window.fit(STREAM_WINDOW as usize, Claim::New) {
            self.relay
                .refuse(arrival.report("UploadMedia"), arrival.at, &error);
            return refused(request, error);
        }
        let limits = self.limits(limit + CHUNK_ENVELOPE);
        // What goes wrong later is reported with the upload.
        let request = checked(request, limits, &memory, caller(&arrival, None));
        let service = Media {
            relay: self.relay.clone(),
            settings,
            arrival,
            held,
            memory,
            window,
        };
        let mut server = MediaServiceServer::new(service)
            .max_decoding_message_size(limit + CHUNK_ENVELOPE)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        explained(server.call(request), limit)
    }

    fn health(&self, request: Request<Clocked>, arrival: Box<Arrival>) -> Answering {
        // Who has proved who it is, is not kept out by those who have not.
        let memory = match arrival.identity.name() {
            Some(_) => CallMemory::new(self.relay.memory().share(Kind::Requests)),
            None => self.open_memory(),
        };
        let limits = self.limits(HEALTH_BYTES);
        let request = checked(request, limits, &memory, caller(&arrival, None));
        let phase = self.phase.clone();
        let checks = Checks {
            phase,
            arrival,
            memory,
        };
        let mut server = HealthServer::new(checks).max_decoding_message_size(HEALTH_BYTES);
        explained(server.call(request), HEALTH_BYTES)
    }

    /// Whoever looks through the schema may think between two questions, but not within one, and
    /// not beyond the deadline of a stream.
    fn reflection(
        &self,
        request: Request<Clocked>,
        arrival: &Arrival,
        mut service: Reflection,
        settings: &Settings,
    ) -> Answering {
        let clock = &arrival.clock;
        clock.keep_deadline(arrival.at + arrival.timeout(settings.stream_timeout, settings));
        let limits = Limits {
            stall_timeout: Some(settings.request_body_timeout),
            ..self.limits(REFLECTION_BYTES)
        };
        let request = request.map(|body| body.until_ended(Arc::clone(clock)));
        let request = checked(request, limits, &self.open_memory(), caller(arrival, None));
        explained(service.call(request.map(Body::new)), REFLECTION_BYTES)
    }

    /// Of a call without credentials: nothing is charged as long as its request is small and whole.
    fn open_memory(&self) -> CallMemory {
        CallMemory::new(self.relay.memory().share(Kind::Open))
    }
}

impl Services for Offered {
    fn access(&self, service: &str, settings: &Settings) -> Option<Access> {
        match service {
            CONVERSATION | MEDIA => Some(Access::Known),
            // Load balancers and orchestrators ask for it, and have no key.
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
        request: Request<Clocked>,
        arrival: Box<Arrival>,
        settings: Arc<Settings>,
    ) -> Answering {
        match services::named(request.uri().path()) {
            CONVERSATION => self.conversation(request, arrival, settings),
            MEDIA => self.media(request, arrival, settings),
            _ if arrival.timeout == Some(Duration::ZERO) => {
                refused(request, call_clock::too_late())
            }
            HEALTH => self.health(request, arrival),
            REFLECTION_V1 => {
                let service = self.reflection_v1.clone();
                self.reflection(request, &arrival, service, &settings)
            }
            REFLECTION_V1ALPHA => {
                let service = self.reflection_v1alpha.clone();
                self.reflection(request, &arrival, service, &settings)
            }
            _ => Box::pin(std::future::ready(Err(services::unknown()))),
        }
    }
}

/// Checks the body of a request before it is decoded. In a box, because tonic moves a request from
/// layer to layer.
fn checked<B>(
    request: Request<B>,
    limits: Limits,
    memory: &CallMemory,
    caller: Caller,
) -> Request<Box<RequestBody<B>>> {
    let encoding = Encoding::of(request.headers());
    request.map(|body| {
        Box::new(RequestBody::new(
            body,
            encoding,
            limits,
            memory.clone(),
            caller,
        ))
    })
}

fn caller(arrival: &Arrival, report: Option<(Relay, &'static str)>) -> Caller {
    Caller {
        request_id: Arc::clone(&arrival.request_id),
        report,
        arrived: arrival.at,
    }
}

fn no_method() -> Error {
    Error::new(Reason::UnknownMethod, "the service has no such method")
}

/// The fault of a call whose message is not kept. It is heard out, because what comes for a stream
/// that was reset is counted against its connection, and callers of a full gateway are honest.
fn refused(request: Request<Clocked>, error: Error) -> Answering {
    Box::pin(async move {
        refusal::hear_out(request.into_body()).await;
        Err(error)
    })
}

/// What a server answers; the statuses that tonic makes are faults, so that they get the details
/// that ours have.
fn explained<F>(answer: F, limit: usize) -> Answering
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    Box::pin(async move {
        let Ok(response) = answer.await;
        match bare_fault(response.headers(), limit) {
            Some(error) => Err(error),
            None => Ok(response),
        }
    })
}

/// The fault behind a status that has no details.
fn bare_fault(headers: &HeaderMap, limit: usize) -> Option<Error> {
    // The head of an answer that goes well has none.
    if !headers.contains_key(names::GRPC_STATUS) || headers.contains_key(names::GRPC_STATUS_DETAILS)
    {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let (code, text) = (status.code(), status.message());
    let error = if code == Code::Ok {
        return None;
    } else if code == Code::OutOfRange {
        let size = text.split_whitespace().find_map(|word| word.parse().ok());
        too_large(size, limit)
    } else if code == Code::ResourceExhausted {
        too_large(None, limit)
    } else if code == Code::Unimplemented && text.is_empty() {
        no_method()
    } else if code == Code::Unimplemented {
        let message = "the message is compressed in a way that is not known; use gzip or zstd";
        Error::new(Reason::UnsupportedOperation, message)
    } else if code == Code::Aborted {
        Error::new(Reason::RequestBodyTimeout, "the caller went away")
    } else {
        Error::new(
            Reason::MalformedMessage,
            "the message cannot be read as its type",
        )
    };
    Some(error.with_source(text))
}

fn too_large(size: Option<u64>, limit: usize) -> Error {
    let found = match size {
        Some(size) => format!("the message is {size} bytes, the limit is {limit}"),
        None => format!("the message is larger than the limit of {limit} bytes"),
    };
    let hint = "send large media with MediaService.UploadMedia";
    Error::new(Reason::MessageTooLarge, format!("{found}; {hint}"))
}
