//! `dashgate.v1.CallService`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::memory::CallMemory;
use crate::relay::Relay;
use crate::server::call_clock;

use super::call_context::{CallContext, is_request_id};
use super::config::GrpcConfig;
use super::pb::call_service_server::CallService;
use super::pb::{CancelCallRequest, CancelCallResponse};
use super::status;

/// The service, for one call.
pub struct Calls {
    /// The relay, which runs the calls.
    pub relay: Relay,
    /// The configuration.
    pub settings: Arc<GrpcConfig>,
    /// The context of this call.
    pub context: Box<CallContext>,
    /// The memory that is charged for it.
    pub _memory: CallMemory,
}

/// The timeout of a call without a deadline.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl CallService for Calls {
    async fn cancel_call(
        &self,
        request: Request<CancelCallRequest>,
    ) -> Result<Response<CancelCallResponse>, Status> {
        let done = self.cancel(&request.into_inner().request_id).await;
        let context = &self.context;
        self.relay
            .record(context.report(), context.at, done.as_ref().err());
        match done {
            Ok(()) => Ok(Response::new(CancelCallResponse {})),
            Err(error) => Err(status::status(
                &error,
                &context.request_id,
                self.settings.show_upstream_messages,
            )),
        }
    }
}

impl Calls {
    async fn cancel(&self, request_id: &str) -> Result<(), Error> {
        if !is_request_id(request_id) {
            let message = "must be the request id of a call: 1 to 128 printable ASCII characters \
                           without spaces";
            return Err(Error::field("request_id", message));
        }
        let deadline = self.context.at + self.context.timeout(TIMEOUT, &self.settings);
        let request_id = request_id.into();
        let cancel = self.relay.cancel(&self.context.identity, &request_id);
        match timeout_at(deadline, cancel).await {
            Ok(done) => done,
            Err(_) => Err(call_clock::too_late()),
        }
    }
}
