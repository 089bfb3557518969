//! A gateway without a store has no stored conversations.

use dashgate::grpc::pb;
use tonic::{Code, Status};

use crate::support::*;

#[tokio::test]
async fn every_method_for_stored_conversations_needs_a_store() {
    let upstream = Upstream::always(json(200, &whole("hello"))).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let name = || "conversations/c".to_owned();
    let mut named = question();
    named.name = name();
    let named_update = pb::UpdateConversationRequest {
        conversation: Some(named.clone()),
        update_mask: None,
    };
    let list = pb::ListTurnsRequest {
        name: name(),
        ..pb::ListTurnsRequest::default()
    };
    let fork = pb::ForkConversationRequest {
        name: name(),
        ..pb::ForkConversationRequest::default()
    };
    let cancel = pb::CancelTurnRequest {
        name: name(),
        ..pb::CancelTurnRequest::default()
    };
    let turn = format!("{}/turns/1", name());
    let get = pb::GetConversationRequest { name: name() };
    let delete = pb::DeleteConversationRequest { name: name() };
    let errors: Vec<Status> = vec![
        client.converse(ask_whole(named.clone())).await.unwrap_err(),
        match client.converse_stream(ask_stream(named)).await {
            Ok(_) => panic!("a stream"),
            Err(error) => error,
        },
        client
            .create_conversation(pb::CreateConversationRequest::default())
            .await
            .unwrap_err(),
        client.get_conversation(get).await.unwrap_err(),
        client
            .list_conversations(pb::ListConversationsRequest::default())
            .await
            .unwrap_err(),
        client.update_conversation(named_update).await.unwrap_err(),
        client.delete_conversation(delete).await.unwrap_err(),
        client.list_turns(list).await.unwrap_err(),
        client
            .delete_turn(pb::DeleteTurnRequest { name: turn })
            .await
            .unwrap_err(),
        client.fork_conversation(fork).await.unwrap_err(),
        client.cancel_turn(cancel).await.unwrap_err(),
    ];
    for error in &errors {
        assert_fault(error, Code::Unimplemented, "NAMED_CONVERSATION");
        assert!(error.message().contains("store.url"), "{error:?}");
    }
    assert!(upstream.seen().is_empty());
}
