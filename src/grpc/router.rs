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
use crate::telemetry::Telemetry;

use super::arrival::{self, Arrival};
use super::body::Clocked;
use super::call_clock::CallClock;
use super::load::Load;
use super::meter::{Answer, Counted, Meter};
use super::services::{self, Access, Answering, Services};
use super::settings::Settings;
use super::web::Asked;
use super::{names, path, refusal, status};

/// Takes calls to a set of services. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    /// What holds for calls that come.
    settings: Arc<RwLock<Arc<Settings>>>,
    callers: Callers,
    telemetry: Arc<Telemetry>,
    meter: Arc<Meter>,
    services: Arc<dyn Services>,
}

impl Router {
    /// A router to these services. With a load, answers tell it.
    pub fn new(
        settings: Settings,
        callers: Callers,
        telemetry: Arc<Telemetry>,
        load: Option<Load>,
        services: Arc<dyn Services>,
    ) -> Self {
        Self {
            settings: Arc::new(RwLock::new(Arc::new(settings))),
            callers,
            meter: Arc::new(Meter::new(Arc::clone(&telemetry), load)),
            telemetry,
            services,
        }
    }

    /// Takes other settings for the calls that come from now on, on all its clones. Whether load is
    /// reported is not changed.
    pub fn reconfigure(&self, settings: Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    /// Where connections are counted.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// How long a response may stay unread.
    pub fn unread_limit(&self) -> Duration {
        self.settings().slow_consumer_timeout
    }

    /// The most metadata of one call.
    pub fn max_metadata_bytes(&self) -> usize {
        self.settings().max_metadata_bytes
    }

    /// Answers one request. Never fails: every fault is an answer.
    pub async fn answer(
        &self,
        request: Request<Asked>,
        connection: &Connection,
        clock: &Arc<CallClock>,
    ) -> Response<Answer> {
        if let Some(refusal) = refusal::other_protocols(&request) {
            refusal::hear_out(request.into_body()).await;
            return refusal.map(Answer::uncounted);
        }
        let (path, headers) = (request.uri().path(), request.headers());
        let metered = self.meter.start(path, headers, Arc::clone(clock));
        let traceparent = metered.traceparent();
        let request = request.map(|body| metered.request(body));
        let settings = self.settings();
        clock.limit(settings.slow_consumer_timeout);
        let service = path::service(request.uri().path());
        let access = self.services.access(service, &settings);
        let known = self
            .known(request.headers(), access, (connection, clock), &settings)
            .await;
        let answered = match known {
            Ok(mut arrival) => {
                // Who is called next hangs below the span of this call.
                arrival.passing.traceparent = traceparent.or(arrival.passing.traceparent);
                let request_id = Arc::clone(&arrival.request_id);
                let answering = match access {
                    Some(_) => self.begin(request, arrival, settings),
                    None => Err(services::unknown()),
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

    /// What is known of a call before its message, and whose it is where that matters.
    async fn known(
        &self,
        headers: &HeaderMap,
        access: Option<Access>,
        (connection, clock): (&Connection, &Arc<CallClock>),
        settings: &Settings,
    ) -> Result<Box<Arrival>, (Arc<str>, Error)> {
        let mut arrival = Arrival::read(headers, settings, Arc::clone(clock))?;
        let shown = arrival::credentials(headers, connection);
        if access == Some(Access::Open) {
            // Who is known has memory of its own. Nobody waits for that, nor is refused.
            let identify = pin!(self.callers.identify(&shown));
            let mut cx = Context::from_waker(Waker::noop());
            match identify.poll(&mut cx) {
                Poll::Ready(Ok(identity)) => arrival.identity = identity,
                Poll::Ready(Err(_)) | Poll::Pending => {
                    arrival.identity.share = self.callers.share_of(connection.origin);
                }
            }
            return Ok(arrival);
        }
        match self.callers.identify(&shown).await {
            Ok(identity) => {
                arrival.passing.api_key.clone_from(&identity.api_key);
                arrival.identity = identity;
                Ok(arrival)
            }
            Err(error) => {
                let (request_id, why) = (arrival.request_id, error.cause());
                tracing::info!(%request_id, why, "authentication failed");
                Err((request_id, error))
            }
        }
    }

    /// Gives a call to its service, which answers within the deadline and however it fails.
    fn begin(
        &self,
        request: Request<Counted<Asked>>,
        arrival: Box<Arrival>,
        settings: Arc<Settings>,
    ) -> Result<Caught, Error> {
        let deadline = arrival.at + arrival.timeout(settings.max_timeout, &settings);
        let stall = settings.request_body_timeout;
        let request_id = Arc::clone(&arrival.request_id);
        let clocks = (stall, deadline, arrival.at);
        let request = request.map(|body| Clocked::new(body, request_id, clocks));
        caught(|| self.services.answer(request, arrival, settings)).map(Caught)
    }
}

/// Gives an answer the name of its call.
fn with_name(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    // An answer that has a name has that of the message, which may be another.
    if let Entry::Vacant(place) = response.headers_mut().entry(names::X_REQUEST_ID)
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
