//! Calls with small requests, for which nothing is sent to DashScope.

use std::sync::Arc;

use http::Request;
use tower::Service;

use crate::error::Error;
use crate::memory::{CallMemory, Kind};

use super::body_timeout::Clocked;
use super::call_context::CallContext;
use super::calls::Calls;
use super::checked_request::{checked, refused};
use super::config::GrpcConfig;
use super::conversation::Conversation;
use super::explained::explained;
use super::models::Models;
use super::pb::call_service_server::CallServiceServer;
use super::pb::conversation_service_server::ConversationServiceServer;
use super::pb::model_service_server::ModelServiceServer;
use super::registry::Registry;
use super::request_body::RequestBody;
use super::service::Answering;

/// The maximum message of the model service: the name of a model, or the token of a page.
const MODEL_BYTES: usize = 4 * 1024;

/// The maximum message of the call service: a request id.
const CALL_BYTES: usize = 4 * 1024;

/// The maximum message about a stored conversation: its labels.
const CONVERSATION_BYTES: usize = 64 * 1024;

/// A request whose message is limited, and counted in the memory of its call.
type SmallRequest = Request<Box<RequestBody<Clocked>>>;

impl Registry {
    /// The memory of a small request that takes no permit, because nothing is sent for it: it also
    /// works while all permits of calls are taken.
    fn count(&self, context: &CallContext) -> Result<CallMemory, Error> {
        let (at, share) = (context.at, context.identity.share);
        let report = || context.report();
        let counted = context.identity.count();
        counted.inspect_err(|error| self.relay.record(report(), at, Some(error)))?;
        let share = self.relay.charge(Kind::Requests, report, (share, at))?;
        Ok(CallMemory::new(share))
    }

    /// A request whose message may have this many bytes, with its memory; or its refusal.
    fn small(
        &self,
        request: Request<Clocked>,
        context: &CallContext,
        most: usize,
    ) -> Result<(SmallRequest, CallMemory), Answering> {
        match self.count(context) {
            Ok(memory) => {
                let limits = self.limits(most, context);
                let request = checked(request, limits, &memory, context, None);
                Ok((request, memory))
            }
            Err(error) => Err(refused(request, error)),
        }
    }

    /// The model service.
    pub(super) fn models(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering {
        let (request, memory) = match self.small(request, &context, MODEL_BYTES) {
            Ok(admitted) => admitted,
            Err(refused) => return refused,
        };
        let service = Models {
            relay: self.relay.clone(),
            settings,
            context,
            memory,
        };
        let mut server = ModelServiceServer::new(service).max_decoding_message_size(MODEL_BYTES);
        explained(server.call(request))
    }

    /// The call service.
    pub(super) fn calls(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering {
        let (request, memory) = match self.small(request, &context, CALL_BYTES) {
            Ok(admitted) => admitted,
            Err(refused) => return refused,
        };
        let service = Calls {
            relay: self.relay.clone(),
            settings,
            context,
            _memory: memory,
        };
        let mut server = CallServiceServer::new(service).max_decoding_message_size(CALL_BYTES);
        explained(server.call(request))
    }

    /// The methods of the conversation service for stored conversations.
    pub(super) fn stored_conversations(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering {
        let (request, memory) = match self.small(request, &context, CONVERSATION_BYTES) {
            Ok(admitted) => admitted,
            Err(refused) => return refused,
        };
        let service = Conversation {
            relay: self.relay.clone(),
            settings,
            context,
            held: None,
            memory,
        };
        let server = ConversationServiceServer::new(service);
        let mut server = server.max_decoding_message_size(CONVERSATION_BYTES);
        explained(server.call(request))
    }
}
