//! How the requests of `stored` are sent.

use tonic::{Request, Status};

use crate::client::Client;
use crate::query::{Method, Page, Paged};
use crate::v1;
use crate::v1::{
    CancelTurnRequest, CancelTurnResponse, CreateConversationRequest, DeleteConversationRequest,
    DeleteTurnRequest, ForkConversationRequest, GetConversationRequest, ListConversationsRequest,
    ListTurnsRequest, Turn, UpdateConversationRequest,
};

/// Methods whose response has a conversation.
macro_rules! returns_conversation {
    ($($request:ty, $name:literal, $method:ident, $is_repeatable:expr;)*) => {$(
        impl Method for $request {
            const NAME: &'static str = $name;
            type Output = v1::Conversation;

            fn is_repeatable(&self) -> bool {
                $is_repeatable(self)
            }

            async fn send(
                client: &Client,
                request: Request<Self>,
            ) -> Result<v1::Conversation, Status> {
                let (mut service, _counted) = client.conversations().await;
                let response = service.$method(request).await?;
                Ok(response.into_inner().conversation.unwrap_or_default())
            }
        }
    )*};
}

// Without an id, a second attempt would make a second conversation.
returns_conversation! {
    CreateConversationRequest, "CreateConversation", create_conversation,
        |request: &Self| !request.conversation_id.is_empty();
    ForkConversationRequest, "ForkConversation", fork_conversation,
        |request: &Self| !request.conversation_id.is_empty();
    GetConversationRequest, "GetConversation", get_conversation, |_: &Self| true;
    UpdateConversationRequest, "UpdateConversation", update_conversation, |_: &Self| true;
}

/// Methods whose response has nothing.
macro_rules! returns_nothing {
    ($($request:ty, $name:literal, $method:ident;)*) => {$(
        impl Method for $request {
            const NAME: &'static str = $name;
            type Output = ();

            async fn send(client: &Client, request: Request<Self>) -> Result<(), Status> {
                let (mut service, _counted) = client.conversations().await;
                service.$method(request).await?;
                Ok(())
            }
        }
    )*};
}

returns_nothing! {
    DeleteConversationRequest, "DeleteConversation", delete_conversation;
    DeleteTurnRequest, "DeleteTurn", delete_turn;
}

/// Methods whose response is a page.
macro_rules! returns_page {
    ($($request:ty, $name:literal, $method:ident, $items:ident: $item:ty;)*) => {$(
        impl Method for $request {
            const NAME: &'static str = $name;
            type Output = Page<$item>;

            async fn send(
                client: &Client,
                request: Request<Self>,
            ) -> Result<Page<$item>, Status> {
                let (mut service, _counted) = client.conversations().await;
                let response = service.$method(request).await?.into_inner();
                Ok(Page {
                    items: response.$items,
                    next_page_token: response.next_page_token,
                })
            }
        }

        impl Paged for $request {
            type Item = $item;

            fn set_page_size(&mut self, items: i32) {
                self.page_size = items;
            }

            fn set_page_token(&mut self, token: String) {
                self.page_token = token;
            }
        }
    )*};
}

returns_page! {
    ListConversationsRequest, "ListConversations", list_conversations,
        conversations: v1::Conversation;
    ListTurnsRequest, "ListTurns", list_turns, turns: Turn;
}

impl Method for CancelTurnRequest {
    const NAME: &'static str = "CancelTurn";
    type Output = CancelTurnResponse;

    async fn send(client: &Client, request: Request<Self>) -> Result<CancelTurnResponse, Status> {
        let (mut service, _counted) = client.conversations().await;
        let response = service.cancel_turn(request).await?;
        Ok(response.into_inner())
    }
}
