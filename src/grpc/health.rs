//! `grpc.health.v1.Health`, with `Check`, `List` and `Watch`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use crate::error::{Error, Reason};
use crate::memory::{self, CallMemory};
use crate::relay::admission::Permit;
use crate::server::phase::Phase;

use super::call_context::CallContext;
use super::method::{CONVERSATION_SERVICE, MEDIA_SERVICE, MODEL_SERVICE};
use super::pb::health::health_check_response::ServingStatus;
use super::pb::health::health_server::Health;
use super::pb::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use super::status;

/// The services with a status; the empty name is the whole server.
const SERVICES: [&str; 4] = ["", CONVERSATION_SERVICE, MEDIA_SERVICE, MODEL_SERVICE];

/// The service, for one call.
pub struct Checks {
    /// The phase, now and later.
    pub phase: watch::Receiver<Phase>,
    /// The context of this call.
    pub context: Box<CallContext>,
    /// The memory that is charged for it.
    pub memory: CallMemory,
    /// The permit of a watch without credentials.
    pub place: Option<Arc<Permit>>,
}

impl Checks {
    fn state(&self) -> HealthCheckResponse {
        response(*self.phase.borrow())
    }
}

fn response(phase: Phase) -> HealthCheckResponse {
    let status = match phase {
        Phase::Serving => ServingStatus::Serving,
        Phase::Draining | Phase::Closing => ServingStatus::NotServing,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for Checks {
    type WatchStream = Changes;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if SERVICES.contains(&service.as_str()) {
            return Ok(Response::new(self.state()));
        }
        let message = format!("unknown service; known are {}", SERVICES[1..].join(", "));
        let error = Error::new(Reason::ResourceNotFound, message);
        Err(status::status(&error, &self.context.request_id, false))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let state = self.state();
        let statuses = SERVICES.map(|service| (service.to_owned(), state)).into();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Changes>, Status> {
        // A watch is long-lived.
        let charged = self.memory.receive(memory::GRAIN);
        charged.map_err(|error| status::status(&error, &self.context.request_id, false))?;
        let known = SERVICES.contains(&request.into_inner().service.as_str());
        if let Some(timeout) = self.context.timeout {
            self.context.clock.keep_deadline(self.context.at + timeout);
        }
        Ok(Response::new(Changes {
            phases: WatchStream::new(self.phase.clone()),
            known,
            last: None,
            request_id: self.context.request_id.clone(),
            over: false,
            _held: (self.memory.clone(), self.place.clone()),
        }))
    }
}

/// The status updates of one watched service, sent only when it changes. Ends when the gateway
/// closes, so that a watch never delays shutdown.
pub struct Changes {
    phases: WatchStream<Phase>,
    known: bool,
    last: Option<HealthCheckResponse>,
    request_id: Arc<str>,
    over: bool,
    _held: (CallMemory, Option<Arc<Permit>>),
}

impl Changes {
    fn end(
        &mut self,
        reason: Reason,
        message: &'static str,
    ) -> Poll<Option<<Self as Stream>::Item>> {
        self.over = true;
        let status = status::status(&Error::new(reason, message), &self.request_id, false);
        Poll::Ready(Some(Err(status)))
    }
}

impl Stream for Changes {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        while let Poll::Ready(phase) = Pin::new(&mut self.phases).poll_next(cx) {
            let Some(phase) = phase.filter(|phase| *phase != Phase::Closing) else {
                return self.end(
                    Reason::ShuttingDown,
                    "the gateway is shutting down; use another",
                );
            };
            let next = if self.known {
                response(phase)
            } else {
                HealthCheckResponse {
                    status: ServingStatus::ServiceUnknown.into(),
                }
            };
            if self.last != Some(next) {
                self.last = Some(next);
                return Poll::Ready(Some(Ok(next)));
            }
        }
        Poll::Pending
    }
}
