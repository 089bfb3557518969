//! Routes HTTP/2 requests to services: everything that all calls share, independent of the
//! services.

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
use super::server_metrics::{CountedResponse, RequestCounter, ServerMetrics};
use super::service::{self, Access, Answering, ServiceSet};
use super::status;
use crate::server::call_clock::CallClock;
use crate::server::grpc_web::WebRequest;
use crate::server::plain_http;

/// Routes calls to a set of services. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    /// The configuration of new calls.
    settings: Arc<RwLock<Arc<GrpcConfig>>>,
    callers: Callers,
    telemetry: Arc<Telemetry>,
    meter: Arc<ServerMetrics>,
    services: Arc<dyn ServiceSet>,
}

impl Router {
    /// A router to these services. With a load, responses report it.
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

    /// Changes the configuration of new calls, on all clones. Whether load is reported is not
    /// changed.
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

    /// The context of a call before its message, with its caller if required.
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
            // An authenticated caller has memory of its own. Identification does not wait for
            // memory, and does not fail for lack of it.
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

    /// Passes a call to its service, with the deadline and error handling.
    fn begin(
        &self,
        request: Request<WebRequest>,
        counter: RequestCounter,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Result<Caught, Error> {
        let deadline = context.at + context.timeout(settings.max_timeout, &settings);
        let stall = settings.request_body_timeout;
        let request_id = Arc::clone(&context.request_id);
        let clocks = (stall, deadline, context.at);
        let shutdown = self.services.shutdown();
        let request = request.map(|body| Clocked::new(body, counter, request_id, clocks, shutdown));
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
                // The requests of this call are children of its span.
                context.passing.traceparent = traceparent.or(context.passing.traceparent);
                let request_id = Arc::clone(&context.request_id);
                let answering = match access {
                    Some(_) => {
                        let counter = metered.request_counter();
                        self.begin(request, counter, context, settings)
                    }
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

/// Adds the request id to a response.
fn with_name(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    // A response that has a request id has that of the message, which may differ.
    if let Entry::Vacant(place) = response.headers_mut().entry(metadata_keys::X_REQUEST_ID)
        && let Ok(value) = HeaderValue::from_str(request_id)
    {
        place.insert(value);
    }
    response
}

/// Converts a panic to an error, so that one call cannot close its connection.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(run))
        .map_err(|_| Error::new(Reason::GatewayBug, "internal error of the gateway"))
}

/// The same for a response in progress.
struct Caught(Answering);

impl Future for Caught {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        caught(|| self.0.as_mut().poll(cx)).unwrap_or_else(|error| Poll::Ready(Err(error)))
    }
}
