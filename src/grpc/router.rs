//! From an HTTP/2 request to the service that it names, and back: what every call has in common,
//! whatever services there are.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::Entry;
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;

use crate::callers::Callers;
use crate::chat::call::Connection;
use crate::error::{Error, Reason};
use crate::server::Service;
use crate::telemetry::Telemetry;

use super::body_timeout::Clocked;
use super::call_context::{self, CallContext};
use super::config::GrpcConfig;
use super::metadata_keys;
use super::method::{self, Method};
use super::orca::Load;
use super::server_metrics::{CountedRequest, CountedResponse, ServerMetrics};
use super::service::{self, Access, Answering, ServiceSet};
use super::status;
use crate::server::call_clock::CallClock;
use crate::server::grpc_web::WebRequest;
use crate::server::plain_http;

/// Takes calls to a set of services. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    /// What holds for calls that come.
    settings: Arc<RwLock<Arc<GrpcConfig>>>,
    callers: Callers,
    telemetry: Arc<Telemetry>,
    meter: Arc<ServerMetrics>,
    services: Arc<dyn ServiceSet>,
}

impl Router {
    /// A router to these services. With a load, answers tell it.
    pub fn new(
        settings: GrpcConfig,
        callers: Callers,
        telemetry: Arc<Telemetry>,
        load: Option<Load>,
        services: Arc<dyn ServiceSet>,
    ) -> Self {
        Self {
            settings: Arc::new(RwLock::new(Arc::new(settings))),
            callers,
            meter: Arc::new(ServerMetrics::new(Arc::clone(&telemetry), load)),
            telemetry,
            services,
        }
    }

    /// Takes other settings for the calls that come from now on, on all its clones. Whether load is
    /// reported is not changed.
    pub fn reconfigure(&self, settings: GrpcConfig) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<GrpcConfig> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known of a call before its message, and whose it is where that matters.
    async fn known(
        &self,
        headers: &HeaderMap,
        access: Option<Access>,
        (connection, clock): (&Connection, &Arc<CallClock>),
        settings: &GrpcConfig,
    ) -> Result<Box<CallContext>, (Arc<str>, Error)> {
        let mut context = CallContext::read(headers, settings, Arc::clone(clock))?;
        let shown = call_context::credentials(headers, connection);
        if access == Some(Access::Open) {
            // Who is known has memory of its own. Nobody waits for that, nor is refused.
            let identify = pin!(self.callers.authenticate(&shown));
            let mut cx = Context::from_waker(Waker::noop());
            match identify.poll(&mut cx) {
                Poll::Ready(Ok(identity)) => context.identity = identity,
                Poll::Ready(Err(_)) | Poll::Pending => {
                    context.identity.share = self.callers.share_of(connection.origin);
                }
            }
            return Ok(context);
        }
        match self.callers.authenticate(&shown).await {
            Ok(identity) => {
                context.passing.api_key.clone_from(&identity.api_key);
                context.identity = identity;
                Ok(context)
            }
            Err(error) => {
                let (request_id, why) = (context.request_id, error.cause());
                tracing::info!(%request_id, why, "authentication failed");
                Err((request_id, error))
            }
        }
    }

    /// Gives a call to its service, which answers within the deadline and however it fails.
    fn begin(
        &self,
        request: Request<CountedRequest<WebRequest>>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Result<Caught, Error> {
        let deadline = context.at + context.timeout(settings.max_timeout, &settings);
        let stall = settings.request_body_timeout;
        let request_id = Arc::clone(&context.request_id);
        let clocks = (stall, deadline, context.at);
        let request = request.map(|body| Clocked::new(body, request_id, clocks));
        caught(|| self.services.answer(request, context, settings)).map(Caught)
    }
}

impl Service for Router {
    type Body = CountedResponse;

    fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    fn slow_consumer_timeout(&self) -> Duration {
        self.settings().slow_consumer_timeout
    }

    fn max_metadata_bytes(&self) -> usize {
        self.settings().max_metadata_bytes
    }

    async fn call(
        &self,
        request: Request<WebRequest>,
        connection: &Connection,
        clock: &Arc<CallClock>,
    ) -> Response<CountedResponse> {
        if let Some(refusal) = plain_http::other_protocols(&request) {
            plain_http::hear_out(request.into_body()).await;
            return refusal.map(CountedResponse::from);
        }
        let called = Method::parse(request.uri().path());
        let metered = self
            .meter
            .start(called, request.headers(), Arc::clone(clock));
        let traceparent = metered.traceparent();
        let request = request.map(|body| metered.request(body));
        let settings = self.settings();
        clock.limit(settings.slow_consumer_timeout);
        let service = method::service(request.uri().path());
        let access = self.services.access(service, &settings);
        let known = self
            .known(request.headers(), access, (connection, clock), &settings)
            .await;
        let answered = match known {
            Ok(mut context) => {
                context.method = called;
                // Who is called next hangs below the span of this call.
                context.passing.traceparent = traceparent.or(context.passing.traceparent);
                let request_id = Arc::clone(&context.request_id);
                let answering = match access {
                    Some(_) => self.begin(request, context, settings),
                    None => Err(service::unknown()),
                };
                let answered = match answering {
                    Ok(answering) => answering.await,
                    Err(error) => Err(error),
                };
                match answered {
                    Ok(response) => Ok((with_name(response, &request_id), request_id)),
                    Err(error) => Err((request_id, error)),
                }
            }
            Err(refused) => Err(refused),
        };
        let (response, request_id) = answered.unwrap_or_else(|(request_id, error)| {
            let response = status::status(&error, &request_id, false).into_http();
            (response, request_id)
        });
        metered.response(response, request_id)
    }
}

/// Gives an answer the name of its call.
fn with_name(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    // An answer that has a name has that of the message, which may be another.
    if let Entry::Vacant(place) = response.headers_mut().entry(metadata_keys::X_REQUEST_ID)
        && let Ok(value) = HeaderValue::from_str(request_id)
    {
        place.insert(value);
    }
    response
}

/// Makes a fault of a panic, so that one call cannot take its connection down.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(run))
        .map_err(|_| Error::new(Reason::GatewayBug, "internal error of the gateway"))
}

/// The same for an answer that is being made.
struct Caught(Answering);

impl Future for Caught {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        caught(|| self.0.as_mut().poll(cx)).unwrap_or_else(|error| Poll::Ready(Err(error)))
    }
}
