//! One turn of a conversation after the other, over all replicas, and how turns end.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::{self, TurnState};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::kept::*;
use crate::replicas::{process, replica};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        another_expected_turn_is_stale,
        one_turn_runs_at_a_time_over_replicas,
        a_retry_of_a_turn_is_replayed_at_another_replica,
        a_failed_turn_is_listed_and_no_history,
        a_given_up_turn_is_cancelled_and_no_history,
        a_turn_is_cancelled_at_another_replica,
        a_turn_of_a_killed_replica_is_made_once_by_its_retry,
        a_turn_of_a_killed_replica_does_not_block_the_next,
        a_deletion_wins_over_a_running_turn,
    ]
}

async fn another_expected_turn_is_stale(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let expecting = |turn| pb::ConverseRequest {
        expected_turn: Some(turn),
        ..say("hello")
    };
    client.converse(mine(expecting(0))).await.unwrap();
    for (wrong, code, reason) in [
        (0, Code::Aborted, "STALE_CONVERSATION"),
        (2, Code::DataLoss, "HISTORY_REGRESSED"),
    ] {
        let error = client.converse(mine(expecting(wrong))).await.unwrap_err();
        assert_fault(&error, code, reason);
        assert_eq!(detail(&error, "last_turn"), "1");
    }
    client.converse(mine(expecting(1))).await.unwrap();
    assert_eq!(upstream.seen().len(), 2);
    assert_eq!(turns(&mut client).await.len(), 2);
}

async fn one_turn_runs_at_a_time_over_replicas(store: StoreSettings) {
    let upstream = numbering(Duration::from_millis(700)).await;
    let one = replica(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    create(&mut one.conversation()).await;
    let mut client = one.conversation();
    let first = tokio::spawn(async move { client.converse(mine(say_once("one", "r1"))).await });
    upstream.wait_for_requests(1).await;
    let mut client = two.conversation();
    assert_eq!(get(&mut client).await.running_request_id, "r1");
    let error = client.converse(mine(say("two"))).await.unwrap_err();
    assert_fault(&error, Code::Aborted, "CONVERSATION_BUSY");
    assert_eq!(detail(&error, "running_request_id"), "r1");
    let turn = format!("{NAME}/turns/1");
    let delete = pb::DeleteTurnRequest { name: turn };
    let error = client.delete_turn(mine(delete)).await.unwrap_err();
    assert_fault(&error, Code::Aborted, "CONVERSATION_BUSY");
    // The same request id joins.
    let joined = client.converse(mine(say_once("one", "r1"))).await.unwrap();
    assert!(joined.metadata().contains_key("idempotent-replay"));
    let first = first.await.unwrap().unwrap().into_inner();
    let joined = joined.into_inner();
    assert_eq!(text(&joined), "answer 0");
    assert_eq!(joined.history_used, first.history_used);
    client.converse(mine(say("two"))).await.unwrap();
    assert_eq!(sent(&upstream), ["one", "answer 0", "two"]);
    assert_eq!(turns(&mut client).await.len(), 2);
}

async fn a_retry_of_a_turn_is_replayed_at_another_replica(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    create(&mut one.conversation()).await;
    let request = say_once("one", "r1");
    let first = one.conversation().converse(mine(request.clone())).await;
    let again = two.conversation().converse(mine(request)).await.unwrap();
    assert!(again.metadata().contains_key("idempotent-replay"));
    let (first, again) = (first.unwrap().into_inner(), again.into_inner());
    assert_eq!(first.history_used, again.history_used);
    assert_eq!(first.choices, again.choices);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(turns(&mut two.conversation()).await.len(), 1);
}

async fn a_failed_turn_is_listed_and_no_history(store: StoreSettings) {
    let refused = r#"{"code":"DataInspectionFailed","message":"no","request_id":"r"}"#;
    let upstream = Upstream::start(move |number, _| match number {
        0 => json(400, refused),
        _ => json(200, &whole("fine")),
    })
    .await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let error = client.converse(mine(say("one"))).await.unwrap_err();
    assert_fault(&error, Code::InvalidArgument, "CONTENT_BLOCKED");
    let stored = get(&mut client).await;
    assert_eq!((stored.last_turn, stored.turn_count), (0, 0));
    let answer = client.converse(mine(say("two"))).await.unwrap();
    assert_eq!(answer.into_inner().history_used.unwrap().turn, 2);
    assert_eq!(sent(&upstream), ["two"]);
    let turns = turns(&mut client).await;
    assert_eq!(turns[0].state(), TurnState::Failed);
    assert_eq!(turns[0].error_reason(), pb::ErrorReason::ContentBlocked);
    assert_eq!(text_of(&turns[0].messages[0]), "one");
    assert_eq!(turns[1].state(), TurnState::Complete);
}

/// Waits until the first turn has this state.
async fn until(client: &mut Conversations, state: TurnState) -> pb::Turn {
    loop {
        let turns = turns(client).await;
        if turns[0].state() == state {
            return turns[0].clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_given_up_turn_is_cancelled_and_no_history(store: StoreSettings) {
    let mut upstream = Upstream::start(|number, _| match number {
        0 => vec![sse(), piece(frame(1, "一", "null")), Step::Hang],
        _ => json(200, &whole("fine")),
    })
    .await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let request = ask_stream(say("one").conversation.unwrap());
    let mut stream = client
        .converse_stream(mine(request))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        stream.next().await.unwrap().unwrap();
    }
    drop(stream);
    upstream.closed().await;
    let turn = until(&mut client, TurnState::Cancelled).await;
    assert_eq!(turn.usage.unwrap().input_tokens, Some(783));
    client.converse(mine(say("two"))).await.unwrap();
    assert_eq!(sent(&upstream), ["two"]);
}

async fn a_turn_is_cancelled_at_another_replica(store: StoreSettings) {
    let mut upstream = Upstream::start(|number, _| match number {
        0 => vec![sse(), piece(frame(1, "一", "null")), Step::Hang],
        _ => json(200, &whole("fine")),
    })
    .await;
    let one = replica(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    create(&mut one.conversation()).await;
    let cancel = |request_id: &str| {
        mine(pb::CancelTurnRequest {
            name: NAME.to_owned(),
            request_id: request_id.to_owned(),
        })
    };
    let mut client = two.conversation();
    let none = client.cancel_turn(cancel("")).await.unwrap().into_inner();
    assert_eq!(none.request_id, "");
    let mut request = ask_stream(say("one").conversation.unwrap());
    request.request_id = "r1".to_owned();
    let stream = one.conversation().converse_stream(mine(request)).await;
    let mut stream = stream.unwrap().into_inner();
    let other = client.cancel_turn(cancel("r2")).await.unwrap().into_inner();
    assert_eq!(other.request_id, "");
    let cancelled = client.cancel_turn(cancel("r1")).await.unwrap().into_inner();
    assert_eq!(cancelled.request_id, "r1");
    let error = loop {
        if let Err(error) = stream.next().await.unwrap() {
            break error;
        }
    };
    assert_fault(&error, Code::Aborted, "CALL_CANCELLED");
    upstream.closed().await;
    let turn = until(&mut client, TurnState::Cancelled).await;
    assert_eq!(turn.usage.unwrap().input_tokens, Some(783));
    client.converse(mine(say("two"))).await.unwrap();
    assert_eq!(sent(&upstream), ["two"]);
}

/// A DashScope that never answers the first request.
async fn hanging_once() -> Upstream {
    Upstream::start(|number, _| match number {
        0 => vec![Step::Hang],
        _ => json(200, &whole("fine")),
    })
    .await
}

/// Begins the turn with request id `r1` at a replica that is killed then.
async fn killed(upstream: &Upstream, store: &StoreSettings) {
    let one = process(upstream, store);
    let mut client = Conversations::with_origin(one.client(), one.origin());
    create(&mut client).await;
    let lost = tokio::spawn(async move { client.converse(mine(say_once("one", "r1"))).await });
    upstream.wait_for_requests(1).await;
    drop(one);
    lost.await.unwrap().unwrap_err();
}

async fn a_turn_of_a_killed_replica_is_made_once_by_its_retry(store: StoreSettings) {
    let upstream = hanging_once().await;
    killed(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    let mut client = two.conversation();
    let request = mine(say_once("one", "r1"));
    let answer = client.converse(request).await.unwrap().into_inner();
    assert_eq!(answer.history_used.as_ref().unwrap().turn, 1);
    let turns = turns(&mut client).await;
    assert_eq!(turns.len(), 1);
    assert_eq!(turns[0].state(), TurnState::Complete);
    assert_eq!(get(&mut client).await.turn_count, 1);
}

async fn a_turn_of_a_killed_replica_does_not_block_the_next(store: StoreSettings) {
    let upstream = hanging_once().await;
    killed(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    let mut client = two.conversation();
    let answer = loop {
        match client.converse(mine(say("two"))).await {
            Ok(answer) => break answer.into_inner(),
            Err(error) => assert_fault(&error, Code::Aborted, "CONVERSATION_BUSY"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(answer.history_used.unwrap().turn, 2);
    assert_eq!(sent(&upstream), ["two"]);
    let turns = turns(&mut client).await;
    assert_eq!(turns[0].state(), TurnState::Failed);
    assert_eq!(turns[0].error_reason(), pb::ErrorReason::OwnerLost);
}

async fn a_deletion_wins_over_a_running_turn(store: StoreSettings) {
    let upstream = numbering(Duration::from_millis(500)).await;
    let one = replica(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    create(&mut one.conversation()).await;
    let mut client = one.conversation();
    let running = tokio::spawn(async move { client.converse(mine(say("one"))).await });
    upstream.wait_for_requests(1).await;
    let mut client = two.conversation();
    let name = NAME.to_owned();
    let delete = pb::DeleteConversationRequest { name };
    client.delete_conversation(mine(delete)).await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
    create(&mut client).await;
    assert!(turns(&mut client).await.is_empty());
}
