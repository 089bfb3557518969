//! `dashgate.v1.ConversationService`.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use crate::chat::call::Delivery;
use crate::chat::event::Event;
use crate::error::{Error, Reason};
use crate::memory::CallMemory;
use crate::relay::Relay;
use crate::relay::admission::Held;
use crate::relay::reply::{Reply, UnreadCall};
use crate::server::call_clock::PendingCall;

use super::call_context::CallContext;
use super::config::GrpcConfig;
use super::conversation_stream::Events;
use super::metadata_keys;
use super::pb;
use super::pb::conversation_service_server::ConversationService;
use super::pb::{ConverseRequest, ConverseResponse, ConverseStreamRequest};
use super::request::{self, Ask};
use super::response;
use super::status;
use super::stored_request;

/// The service, for one call.
pub struct Conversation {
    /// The relay of calls.
    pub relay: Relay,
    /// The configuration.
    pub settings: Arc<GrpcConfig>,
    /// The context of this call.
    pub context: Box<CallContext>,
    /// The permit while it is read. `None`: the call is not for a model.
    pub held: Option<Held>,
    /// The memory that is charged for its request.
    pub memory: CallMemory,
}

#[tonic::async_trait]
impl ConversationService for Conversation {
    type ConverseStreamStream = Events;

    async fn converse(
        &self,
        request: Request<ConverseRequest>,
    ) -> Result<Response<ConverseResponse>, Status> {
        let message = request.into_inner();
        let ask = Ask {
            conversation: message.conversation,
            options: message.options,
            request_id: message.request_id,
            expected_turn: message.expected_turn,
            history: message.history,
            uses_model: false,
            delivery: Delivery::Whole,
            after_sequence: 0,
            detached: message.detached,
            resumable: false,
        };
        let (mut reply, request_id) = self.open(ask).await?;
        let answer = reply
            .whole()
            .await
            .map_err(|error| self.status(&error, &request_id))?;

        let upstream = answer.started.upstream_request_id.clone();
        let mut response = Response::new(response::response(answer, &request_id, reply.timing()));
        tell(
            response.metadata_mut(),
            &request_id,
            &upstream,
            reply.is_joined(),
        );
        Ok(response)
    }

    async fn converse_stream(
        &self,
        request: Request<ConverseStreamRequest>,
    ) -> Result<Response<Events>, Status> {
        let message = request.into_inner();
        let (after, resumable) = (message.after_sequence, message.resumable);
        let ask = Ask {
            conversation: message.conversation,
            options: message.options,
            request_id: message.request_id,
            expected_turn: message.expected_turn,
            history: message.history,
            uses_model: false,
            delivery: Delivery::Stream,
            after_sequence: after,
            detached: message.detached,
            resumable,
        };
        let (mut reply, request_id) = self.open(ask).await?;
        // Another call with this request id may have begun it otherwise.
        let resumable = resumable && reply.may_be_resumed();
        // Headers are not sent before DashScope has begun, so that an error until then reaches
        // proxies as a status they can act on. A model that is silent for long gets heartbeats
        // instead.
        let patience = self.settings.heartbeat_after;
        let first = match tokio::time::timeout(patience, reply.next()).await {
            Ok(Some(Ok(event))) => Some(event),
            Ok(Some(Err(error))) => return Err(self.status(&error, &request_id)),
            Ok(None) | Err(_) => None,
        };

        let upstream = match &first {
            Some(Event::Started(started)) => started.upstream_request_id.clone(),
            _ => String::new(),
        };
        let joined = reply.is_joined();
        let events = Events::new(
            (reply, first),
            Arc::clone(&request_id),
            (after, resumable),
            &self.settings,
            self.memory.clone(),
        );
        let mut response = Response::new(events);
        tell(response.metadata_mut(), &request_id, &upstream, joined);
        if resumable {
            // `Started`, which has the same, may come much later.
            status::insert(
                response.metadata_mut(),
                metadata_keys::DASHGATE_RESUMABLE,
                "true",
            );
        }
        Ok(response)
    }

    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Result<Response<pb::CreateConversationResponse>, Status> {
        self.finish(self.create(request.into_inner())).await
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::GetConversationResponse>, Status> {
        self.finish(self.get(request.into_inner())).await
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Result<Response<pb::ListConversationsResponse>, Status> {
        self.finish(self.list(request.into_inner())).await
    }

    async fn update_conversation(
        &self,
        request: Request<pb::UpdateConversationRequest>,
    ) -> Result<Response<pb::UpdateConversationResponse>, Status> {
        self.finish(self.update(request.into_inner())).await
    }

    async fn delete_conversation(
        &self,
        request: Request<pb::DeleteConversationRequest>,
    ) -> Result<Response<pb::DeleteConversationResponse>, Status> {
        self.finish(self.delete(request.into_inner())).await
    }

    async fn list_turns(
        &self,
        request: Request<pb::ListTurnsRequest>,
    ) -> Result<Response<pb::ListTurnsResponse>, Status> {
        self.finish(self.turns(request.into_inner())).await
    }

    async fn delete_turn(
        &self,
        request: Request<pb::DeleteTurnRequest>,
    ) -> Result<Response<pb::DeleteTurnResponse>, Status> {
        self.finish(self.delete_turn(request.into_inner())).await
    }

    async fn fork_conversation(
        &self,
        request: Request<pb::ForkConversationRequest>,
    ) -> Result<Response<pb::ForkConversationResponse>, Status> {
        self.finish(self.fork(request.into_inner())).await
    }

    async fn cancel_turn(
        &self,
        request: Request<pb::CancelTurnRequest>,
    ) -> Result<Response<pb::CancelTurnResponse>, Status> {
        self.finish(self.cancel(request.into_inner())).await
    }
}

impl Conversation {
    async fn open(&self, ask: Ask) -> Result<(Reply, Arc<str>), Status> {
        let ask = self.with_model(ask).await;
        let call = ask.and_then(|ask| request::call(ask, &self.context, &self.settings));
        let call = call.map_err(|error| {
            let report = self.context.report();
            self.relay.refuse(report, self.context.at, &error);
            self.status(&error, &self.context.request_id)
        })?;
        let Some(held) = &self.held else {
            let error = Error::new(Reason::GatewayBug, "the call was not admitted");
            return Err(self.status(&error, &self.context.request_id));
        };
        self.memory.decoded();
        let request_id = Arc::clone(&call.request_id);
        let (held, who) = ((held, self.memory.clone()), &self.context.identity);
        let reply = self.relay.open(call, held, who, self.context.at).await;
        let reply = reply.map_err(|error| self.status(&error, &request_id))?;
        self.context
            .clock
            .hold(Box::new(reply.unread_call()), &self.memory);
        Ok((reply, request_id))
    }

    /// The request with the model of its stored conversation, if it names none.
    async fn with_model(&self, mut ask: Ask) -> Result<Ask, Error> {
        let Some(conversation) = &mut ask.conversation else {
            return Ok(ask);
        };
        let name = &conversation.name;
        if name.is_empty() {
            return Ok(ask);
        }
        let conversations = self.conversations()?;
        if conversation.model.is_empty()
            && let Some(id) = stored_request::id_of(name)
        {
            let stored = conversations
                .get((&self.context.identity.tenant, id))
                .await?;
            ask.uses_model = !stored.model.is_empty();
            conversation.model = stored.model;
        }
        Ok(ask)
    }

    fn status(&self, error: &Error, request_id: &str) -> Status {
        status::status(error, request_id, self.settings.show_upstream_messages)
    }
}

/// Adds the request ids to the metadata of the response.
fn tell(metadata: &mut MetadataMap, request_id: &str, upstream_request_id: &str, joined: bool) {
    status::insert(metadata, metadata_keys::X_REQUEST_ID, request_id);
    if !upstream_request_id.is_empty() {
        status::insert(
            metadata,
            metadata_keys::X_DASHSCOPE_REQUEST_ID,
            upstream_request_id,
        );
    }
    if joined {
        metadata.insert("idempotent-replay", MetadataValue::from_static("true"));
    }
}

/// Ends a call of the relay whose response is not read.
impl PendingCall for UnreadCall {
    fn deadline(&self) -> Instant {
        UnreadCall::deadline(self)
    }

    fn end_at_deadline(self: Box<Self>) -> Error {
        self.too_late()
    }

    fn end(self: Box<Self>, error: Error) -> Error {
        UnreadCall::end(*self, error)
    }
}
