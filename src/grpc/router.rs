//! From an HTTP/2 request to the service that it names, and back: what every call has in common.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tonic_reflection::pb::{v1, v1alpha};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::callers::Callers;
use crate::chat::call::Peer;
use crate::error::{Error, Reason};
use crate::relay::Relay;
use crate::telemetry::Telemetry;

use super::arrival::{self, Arrival};
use super::body::Clocked;
use super::conversation::Conversation;
use super::health::{Checks, Phase};
use super::load::Load;
use super::media::Media;
use super::meter::{Counted, Meter};
use super::pb::conversation_service_server::ConversationServiceServer;
use super::pb::health::health_server::HealthServer;
use super::pb::media_service_server::MediaServiceServer;
use super::settings::Settings;
use super::web::Asked;
use super::{pb, refusal, status};

/// What a message of an upload may weigh beside its chunk: the tag and length of one field, and a
/// description with its names.
const CHUNK_ENVELOPE: usize = 4 * 1024;

type Reflection = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Knows every service. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    /// What holds for the call that this clone answers.
    settings: Settings,
    /// What holds for calls that come.
    current: Arc<RwLock<Settings>>,
    relay: Relay,
    callers: Callers,
    telemetry: Arc<Telemetry>,
    meter: Arc<Meter>,
    phase: watch::Receiver<Phase>,
    reflection_v1: Reflection,
    reflection_v1alpha: Reflection,
}

impl Router {
    /// A router to this relay.
    pub fn new(
        settings: Settings,
        relay: Relay,
        callers: Callers,
        telemetry: Arc<Telemetry>,
        phase: watch::Receiver<Phase>,
    ) -> Result<Self, Error> {
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
        let of_v1alpha = reflection(v1::FILE_DESCRIPTOR_SET);
        let of_v1alpha = of_v1alpha.build_v1alpha().map_err(broken)?;
        let load = settings.load_reports.then(|| Load::new(relay.clone()));
        Ok(Self {
            settings,
            current: Arc::new(RwLock::new(settings)),
            relay,
            callers,
            meter: Arc::new(Meter::new(Arc::clone(&telemetry), load)),
            telemetry,
            phase,
            reflection_v1: BoxCloneSyncService::new(of_v1),
            reflection_v1alpha: BoxCloneSyncService::new(of_v1alpha),
        })
    }

    /// Takes other settings for the calls that come from now on, on all its clones. Whether load is
    /// reported is not changed.
    pub fn reconfigure(&self, settings: Settings) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Where connections are counted.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Answers one request. Never fails: every fault is an answer.
    pub async fn answer(
        mut self,
        request: Request<Asked>,
        peer: Option<Arc<Peer>>,
    ) -> Response<Body> {
        self.settings = *self.current.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = refusal::other_protocols(&request) {
            refusal::hear_out(request.into_body()).await;
            return refusal;
        }
        let metered = self.meter.start(request.uri().path(), request.headers());
        let traceparent = metered.traceparent();
        let request = request.map(|body| metered.request(body));
        metered.response(self.respond(request, peer, traceparent).await)
    }

    async fn respond(
        self,
        request: Request<Counted<Asked>>,
        peer: Option<Arc<Peer>>,
        traceparent: Option<String>,
    ) -> Response<Body> {
        let arrival = match self.arrival(&request, peer).await {
            Ok(mut arrival) => {
                // Who is called next hangs below the span of this call.
                arrival.passing.traceparent = traceparent.or(arrival.passing.traceparent);
                arrival
            }
            Err((request_id, error)) => {
                return status::status(&error, &request_id, false).into_http();
            }
        };
        let request_id = arrival.request_id.clone();
        let limit = match service(request.uri().path()) {
            "dashgate.v1.MediaService" => self.settings.max_chunk_bytes,
            _ => self.settings.max_request_bytes,
        };
        let response = match Caught(Box::pin(self.dispatch(request, arrival))).await {
            Ok(response) => response,
            Err(()) => {
                let error = Error::new(Reason::GatewayBug, "the gateway failed inside");
                status::status(&error, &request_id, false).into_http()
            }
        };
        finish(response, &request_id, limit)
    }

    /// What the head of a call tells, and whose call it is.
    async fn arrival(
        &self,
        request: &Request<Counted<Asked>>,
        peer: Option<Arc<Peer>>,
    ) -> Result<Arrival, (String, Error)> {
        let headers = request.headers();
        let mut arrival = Arrival::read(headers, &self.settings, peer)?;
        let open = match service(request.uri().path()) {
            // Load balancers and orchestrators ask for it, and have no key.
            "grpc.health.v1.Health" => true,
            "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
                self.settings.open_reflection
            }
            _ => false,
        };
        if open {
            return Ok(arrival);
        }
        let shown = arrival::credentials(headers, arrival.peer.as_deref());
        match self.callers.identify(&shown).await {
            Ok(identity) => {
                arrival.passing.api_key.clone_from(&identity.api_key);
                arrival.identity = identity;
            }
            Err(error) => {
                let (request_id, why) = (arrival.request_id, error.cause());
                tracing::info!(%request_id, why, "a call was refused: it is not known whose it is");
                return Err((request_id, error));
            }
        }
        Ok(arrival)
    }

    async fn dispatch(self, request: Request<Counted<Asked>>, arrival: Arrival) -> Response<Body> {
        let settings = self.settings;
        let timeout = arrival.timeout(settings.max_timeout, &settings);
        let stall = settings.request_body_timeout;
        let request_id = arrival.request_id.clone();
        let deadline = arrival.at + timeout;
        let clock = |body| Clocked::new(body, request_id, stall, deadline);
        match service(request.uri().path()) {
            "dashgate.v1.ConversationService" => {
                let service = Conversation {
                    relay: self.relay,
                    settings,
                    arrival,
                };
                let server = ConversationServiceServer::new(service)
                    .max_decoding_message_size(settings.max_request_bytes)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd);
                infallible(server.oneshot(request.map(clock)).await)
            }
            "dashgate.v1.MediaService" => {
                let service = Media {
                    relay: self.relay,
                    settings,
                    arrival,
                };
                // Media are compressed already; a compressed chunk is taken all the same.
                let server = MediaServiceServer::new(service)
                    .max_decoding_message_size(settings.max_chunk_bytes + CHUNK_ENVELOPE)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd);
                infallible(server.oneshot(request.map(clock)).await)
            }
            "grpc.health.v1.Health" => {
                let service = Checks {
                    phase: self.phase,
                    arrival,
                };
                infallible(HealthServer::new(service).oneshot(request.map(clock)).await)
            }
            "grpc.reflection.v1.ServerReflection" => {
                infallible(self.reflection_v1.oneshot(request.map(Body::new)).await)
            }
            "grpc.reflection.v1alpha.ServerReflection" => infallible(
                self.reflection_v1alpha
                    .oneshot(request.map(Body::new))
                    .await,
            ),
            _ => {
                let message = "there is no such service; list them with grpcurl";
                let error = Error::new(Reason::UnknownMethod, message);
                status::status(&error, &arrival.request_id, false).into_http()
            }
        }
    }
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
    }
}

/// The service in a path: `/package.Service/Method`.
fn service(path: &str) -> &str {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .map_or("", |(service, _)| service)
}

/// Gives an answer the name of its call, and the statuses that tonic makes the details that ours
/// have.
fn finish(mut response: Response<Body>, request_id: &str, limit: usize) -> Response<Body> {
    if let Some(error) = bare_fault(response.headers(), limit) {
        return status::status(&error, request_id, false).into_http();
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response
            .headers_mut()
            .entry("x-request-id")
            .or_insert(value);
    }
    response
}

/// The fault behind a status that has no details.
fn bare_fault(headers: &HeaderMap, limit: usize) -> Option<Error> {
    if headers.contains_key("grpc-status-details-bin") {
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
        Error::new(Reason::UnknownMethod, "the service has no such method")
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
    let message = format!("{found}; send large media with MediaService.UploadMedia");
    Error::new(Reason::MessageTooLarge, message)
}

/// A future whose panic is an answer, so that one call cannot take its connection down.
struct Caught<F>(Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        }
    }
}
