//! The admission of live sessions, and of the streams that resume them.

use std::sync::Arc;

use http::Request;
use tower::Service;

use crate::error::{Error, Reason};
use crate::live::LiveSessions;
use crate::memory::{CallMemory, Kind};
use crate::relay::Relay;
use crate::relay::admission::Admission;
use crate::server::grpc_web::Form;

use super::body_limits::Limits;
use super::body_timeout::Clocked;
use super::call_context::CallContext;
use super::checked_request::{checked, refused};
use super::config::GrpcConfig;
use super::explained::explained;
use super::live::{Entry, Live};
use super::pb::live_service_server::LiveServiceServer;
use super::service::Answering;

/// The maximum number of callers at a limit whose setup is read, in case they resume a session, and
/// the share of one of them. A setup arrives together with its headers.
const MAX_RESUMING: usize = 64;
const RESUMING_SHARE_PERCENT: u32 = 50;

/// The calls of the live service.
pub(super) struct LiveCalls {
    relay: Relay,
    sessions: LiveSessions,
    /// The permits of callers at a limit, which may resume sessions.
    resuming: Admission,
}

impl LiveCalls {
    /// The calls of these sessions.
    pub(super) fn new(relay: Relay, sessions: LiveSessions) -> Self {
        Self {
            relay,
            sessions,
            resuming: Admission::new(MAX_RESUMING, RESUMING_SHARE_PERCENT),
        }
    }

    /// Answers a call, whose messages have these limits.
    pub(super) fn answer(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
        limits: Limits,
    ) -> Answering {
        if request.extensions().get::<Form>().is_some() {
            let error = no_web();
            self.relay.refuse(context.report(), context.at, &error);
            return refused(request, error);
        }
        let limit = settings.max_request_bytes;
        let (entry, memory) = match self.admit(&context) {
            Ok(admitted) => admitted,
            Err(error) => return refused(request, error),
        };
        let limits = Limits {
            stall_timeout: Some(settings.request_body_timeout),
            ..limits
        };
        // Callers may pause for as long as they like, but not within a message.
        let clock = Arc::clone(&context.clock);
        let request = request.map(|body| body.until_ended(clock));
        let request = checked(request, limits, &memory, &context, None);
        let service = Live {
            sessions: self.sessions.clone(),
            relay: self.relay.clone(),
            settings,
            context,
            entry,
            memory,
        };
        let mut server = LiveServiceServer::new(service).max_decoding_message_size(limit);
        explained(server.call(request))
    }

    /// Admits a live session. Who is at a limit may still resume a session, which has its permits:
    /// whether it does is known once its setup was read.
    fn admit(&self, context: &CallContext) -> Result<(Entry, CallMemory), Error> {
        let who = &context.identity;
        let entry = match self.relay.try_enter(who) {
            Ok(held) => Entry::Admitted(held),
            Err(error) => match self.resuming.admit(who.share) {
                Ok(place) => Entry::Refused(error, place),
                Err(_) => {
                    self.relay.refuse(context.report(), context.at, &error);
                    return Err(error);
                }
            },
        };
        let report = || context.report();
        let at = (who.share, context.at);
        let share = self.relay.charge(Kind::Requests, report, at)?;
        Ok((entry, CallMemory::new(share)))
    }
}

/// The error of a live session over gRPC-Web, which has no streams in both directions.
fn no_web() -> Error {
    let message = "live sessions need gRPC over HTTP/2: gRPC-Web has no streams of requests";
    Error::new(Reason::UnsupportedOperation, message)
}
