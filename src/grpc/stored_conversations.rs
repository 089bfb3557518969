//! The methods of `dashgate.v1.ConversationService` for stored conversations.

use std::time::Duration;

use tokio::time::timeout_at;
use tonic::{Response, Status};

use crate::chat::call::Tenant;
use crate::conversations::Conversations;
use crate::conversations::management::{self, Choices, StoredTurn, TurnPage, TurnState};
use crate::error::Error;
use crate::server::call_clock;

use super::conversation::Conversation;
use super::pb;
use super::response::{duration, message};
use super::stored_request::{
    is_id, labels, name, new_id, no_store, required_id, ttl, turn_name, turn_of,
};
use super::usage::usage;
use super::{page, small_response};

/// The default and the maximum number of conversations in a page: with labels of usual length, its
/// message is below 100 KB.
const CONVERSATIONS: (u32, u32) = (50, 200);

/// The default and the maximum number of turns in a page. Its bytes are limited, too.
const TURNS: (u32, u32) = (20, 100);

/// The maximum length of the model of a conversation, of which a page has many.
const MAX_MODEL: usize = 256;

/// The fields that an update may change.
const FIELDS: [&str; 3] = ["labels", "ttl", "model"];

impl Conversation {
    /// The stored conversations, or the error of a gateway without a store.
    pub(super) fn conversations(&self) -> Result<&Conversations, Error> {
        self.relay.conversations().ok_or_else(no_store)
    }

    fn tenant(&self) -> &Tenant {
        &self.context.identity.tenant
    }

    pub(super) async fn create(
        &self,
        request: pb::CreateConversationRequest,
    ) -> Result<pb::CreateConversationResponse, Error> {
        let conversations = self.conversations()?;
        let from = request.conversation.unwrap_or_default();
        if !from.name.is_empty() || !from.messages.is_empty() {
            let fix = "may have model, labels and ttl only; set conversation_id for the name, and \
                       send messages with Converse";
            return Err(Error::field("conversation", fix));
        }
        let id = new_id(request.conversation_id)?;
        let choices = Choices {
            model: Some(model(from.model)?),
            labels: Some(labels(from.labels)?),
            ttl: Some(from.ttl.map(ttl).transpose()?),
        };
        conversations.create((self.tenant(), &id), choices).await?;
        let conversation = Some(self.read(conversations, &id).await?);
        Ok(pb::CreateConversationResponse { conversation })
    }

    pub(super) async fn get(
        &self,
        request: pb::GetConversationRequest,
    ) -> Result<pb::GetConversationResponse, Error> {
        let conversations = self.conversations()?;
        let id = required_id("name", &request.name)?;
        let conversation = Some(self.read(conversations, id).await?);
        Ok(pb::GetConversationResponse { conversation })
    }

    async fn read(
        &self,
        conversations: &Conversations,
        id: &str,
    ) -> Result<pb::Conversation, Error> {
        let read = conversations.get((self.tenant(), id)).await?;
        Ok(conversation(read))
    }

    pub(super) async fn list(
        &self,
        request: pb::ListConversationsRequest,
    ) -> Result<pb::ListConversationsResponse, Error> {
        let conversations = self.conversations()?;
        let size = page::size(request.page_size, CONVERSATIONS)?;
        let after = page::after(&request.page_token, |text| {
            let (updated, id) = text.split_once(':')?;
            Some((updated.parse().ok()?, is_id(id).then(|| id.to_owned())?))
        })?;
        let (updated, id) = after.unwrap_or((i64::MAX, String::new()));
        let one_more = i64::from(size) + 1;
        let page = conversations.list(self.tenant(), (updated, &id), one_more);
        let mut page = page.await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let has_more = page.len() > size;
        page.truncate(size);
        let last = page.last().filter(|_| has_more);
        Ok(pb::ListConversationsResponse {
            next_page_token: page::token(last.map(|last| format!("{}:{}", last.updated, last.id))),
            conversations: page.into_iter().map(conversation).collect(),
        })
    }

    pub(super) async fn update(
        &self,
        request: pb::UpdateConversationRequest,
    ) -> Result<pb::UpdateConversationResponse, Error> {
        let conversations = self.conversations()?;
        let from = request.conversation.unwrap_or_default();
        let id = required_id("conversation.name", &from.name)?.to_owned();
        let mask = request.update_mask.map(|mask| mask.paths);
        let unknown = |path: &String| !FIELDS.contains(&path.as_str());
        if mask.iter().flatten().any(unknown) {
            let fix = "may have labels, ttl and model only";
            return Err(Error::field("update_mask", fix));
        }
        let changes = |field: &str, is_set: bool| match &mask {
            Some(paths) if !paths.is_empty() => paths.iter().any(|path| path == field),
            Some(_) | None => is_set,
        };
        let with_labels = changes("labels", !from.labels.is_empty());
        let with_ttl = changes("ttl", from.ttl.is_some());
        let with_model = changes("model", !from.model.is_empty());
        let choices = Choices {
            labels: with_labels.then(|| labels(from.labels)).transpose()?,
            ttl: with_ttl
                .then(|| from.ttl.map(ttl).transpose())
                .transpose()?,
            model: with_model.then(|| model(from.model)).transpose()?,
        };
        conversations.update((self.tenant(), &id), choices).await?;
        let conversation = Some(self.read(conversations, &id).await?);
        Ok(pb::UpdateConversationResponse { conversation })
    }

    pub(super) async fn delete(
        &self,
        request: pb::DeleteConversationRequest,
    ) -> Result<pb::DeleteConversationResponse, Error> {
        let conversations = self.conversations()?;
        let id = required_id("name", &request.name)?;
        conversations.delete((self.tenant(), id)).await?;
        Ok(pb::DeleteConversationResponse {})
    }

    pub(super) async fn turns(
        &self,
        request: pb::ListTurnsRequest,
    ) -> Result<pb::ListTurnsResponse, Error> {
        let conversations = self.conversations()?;
        let id = required_id("name", &request.name)?;
        let newest_first = request.newest_first;
        let after = page::after(&request.page_token, |text| text.parse().ok())?;
        let from = after.unwrap_or(if newest_first { i64::MAX } else { 0 });
        let page = TurnPage {
            from,
            newest_first,
            limit: page::size(request.page_size, TURNS)?.into(),
            include_media: request.include_media,
        };
        let (turns, next) = conversations.turns((self.tenant(), id), page).await?;
        Ok(pb::ListTurnsResponse {
            next_page_token: page::token(next.map(|from| from.to_string())),
            turns: turns.into_iter().map(|stored| turn(id, stored)).collect(),
        })
    }

    pub(super) async fn delete_turn(
        &self,
        request: pb::DeleteTurnRequest,
    ) -> Result<pb::DeleteTurnResponse, Error> {
        let conversations = self.conversations()?;
        let (id, number) = turn_of(&request.name)?;
        conversations
            .delete_turn((self.tenant(), id), number)
            .await?;
        Ok(pb::DeleteTurnResponse {})
    }

    pub(super) async fn fork(
        &self,
        request: pb::ForkConversationRequest,
    ) -> Result<pb::ForkConversationResponse, Error> {
        let conversations = self.conversations()?;
        let id = required_id("name", &request.name)?;
        if request.last_turn.is_some_and(|turn| turn < 0) {
            return Err(Error::field("last_turn", "must not be negative"));
        }
        let new_id = new_id(request.conversation_id)?;
        let last_turn = request.last_turn.map(i64::from);
        conversations
            .fork((self.tenant(), id), &new_id, last_turn)
            .await?;
        let conversation = Some(self.read(conversations, &new_id).await?);
        Ok(pb::ForkConversationResponse { conversation })
    }

    pub(super) async fn cancel(
        &self,
        request: pb::CancelTurnRequest,
    ) -> Result<pb::CancelTurnResponse, Error> {
        self.conversations()?;
        let id = required_id("name", &request.name)?;
        let who = &self.context.identity;
        let request_id = self.relay.cancel_turn(who, id, &request.request_id).await?;
        Ok(pb::CancelTurnResponse { request_id })
    }

    /// Runs a method within its deadline, a few of a caller at a time, charges its response until
    /// the caller has read it, and records the call.
    pub(super) async fn finish<T: prost::Message>(
        &self,
        response: impl Future<Output = Result<T, Error>>,
    ) -> Result<Response<T>, Status> {
        let context = &self.context;
        let deadline = context.at + context.timeout(self.settings.unary_timeout, &self.settings);
        let placed = async {
            let store = self.relay.conversations().map(Conversations::store);
            let _place = match store {
                Some(store) => store.place(self.tenant()).await,
                None => None,
            };
            response.await
        };
        let response = timeout_at(deadline, Box::pin(placed)).await;
        let response = response.unwrap_or_else(|_| Err(call_clock::too_late()));
        let of = (&**context, deadline);
        small_response::finish(response, of, (&self.relay, &self.memory))
    }
}

fn model(model: String) -> Result<String, Error> {
    match model.len() > MAX_MODEL || model.chars().any(char::is_control) {
        true => Err(Error::field(
            "conversation.model",
            "must be at most 256 bytes, without control characters",
        )),
        false => Ok(model),
    }
}

fn conversation(from: management::Conversation) -> pb::Conversation {
    let number = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    pb::Conversation {
        name: name(&from.id),
        model: from.model,
        labels: from.labels.into_iter().collect(),
        ttl: Some(duration(from.ttl)),
        create_time: Some(timestamp(from.created)),
        update_time: Some(timestamp(from.updated)),
        expire_time: Some(timestamp(from.expires)),
        last_turn: number(from.last_turn),
        turn_count: number(from.turns),
        running_request_id: from.running,
        ..pb::Conversation::default()
    }
}

fn turn(id: &str, from: StoredTurn) -> pb::Turn {
    let (state, reason) = match from.state {
        TurnState::Running => (pb::TurnState::Running, None),
        TurnState::Complete => (pb::TurnState::Complete, None),
        TurnState::Cancelled => (pb::TurnState::Cancelled, None),
        TurnState::Failed(reason) => {
            let reason = pb::ErrorReason::from_str_name(&reason);
            (pb::TurnState::Failed, reason)
        }
    };
    pb::Turn {
        name: turn_name(id, from.number),
        number: i32::try_from(from.number).unwrap_or(i32::MAX),
        request_id: from.request_id,
        state: state.into(),
        messages: from.messages.into_iter().map(message).collect(),
        answer: from.answer.map(message),
        model: from.model,
        usage: from.usage.map(|used| usage(&used)),
        error_reason: reason.unwrap_or_default().into(),
        create_time: Some(timestamp(from.created)),
        end_time: (from.ended > 0).then(|| timestamp(from.ended)),
    }
}

fn timestamp(millis: i64) -> prost_types::Timestamp {
    let span = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    prost_types::Timestamp {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
    }
}
