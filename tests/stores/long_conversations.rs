//! Long conversations: only what is sent is read, and there are limits.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use sqlx::{AnyConnection, Connection};
use tokio::time::Instant;
use tonic::Code;

use crate::kept::*;
use crate::replicas::replica;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        of_ten_thousand_turns_only_the_latest_are_read,
        a_history_that_is_too_large_is_refused,
        a_conversation_has_a_maximum_number_of_turns,
    ]
}

/// Runs SQL in the store.
async fn sql(store: &StoreSettings, text: &'static str) {
    let url = store.url.expose();
    let url = match url.strip_prefix("sqlite:") {
        Some(path) => format!("sqlite:{path}?mode=rw"),
        None => url.to_owned(),
    };
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    sqlx::query(text).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn without_history(text: &str) -> pb::ConverseRequest {
    pb::ConverseRequest {
        history: Some(pb::HistoryPolicy {
            max_turns: Some(0),
            ..pb::HistoryPolicy::default()
        }),
        ..say(text)
    }
}

async fn of_ten_thousand_turns_only_the_latest_are_read(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client.converse(mine(say("one"))).await.unwrap();
    sql(
        &store,
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system, model,
           reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
         SELECT tenant, conversation, i, '', 0, state, system, model, reason, tokens, bytes,
           media_bytes, created, ended, usage, messages, answer
         FROM turns, n WHERE number = 1",
    )
    .await;
    let head = "UPDATE conversations SET numbered = 10000, last_turn = 10000, turns = 10000";
    sql(&store, head).await;
    let began = Instant::now();
    let answer = client.converse(mine(say("two"))).await.unwrap();
    let took = began.elapsed();
    let used = answer.into_inner().history_used.unwrap();
    assert_eq!((used.turn, used.turns_sent), (10_001, 100));
    assert_eq!(used.turns_left_out, 9_900);
    assert_eq!(sent(&upstream).len(), 201);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let conversation = get(&mut client).await;
    assert_eq!(conversation.turn_count, 10_001);
    client
        .delete_conversation(mine(deleted(NAME)))
        .await
        .unwrap();
}

async fn a_history_that_is_too_large_is_refused(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client.converse(mine(say("one"))).await.unwrap();
    sql(&store, "UPDATE turns SET bytes = 40000000").await;
    let error = client.converse(mine(say("two"))).await.unwrap_err();
    assert_reason(&error, Code::FailedPrecondition, "CONVERSATION_TOO_LONG");
    client.converse(mine(without_history("two"))).await.unwrap();
    assert_eq!(upstream.seen().len(), 2);
}

async fn a_conversation_has_a_maximum_number_of_turns(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    sql(&store, "UPDATE conversations SET numbered = 99999").await;
    client.converse(mine(say("one"))).await.unwrap();
    let error = client.converse(mine(say("two"))).await.unwrap_err();
    assert_reason(&error, Code::FailedPrecondition, "CONVERSATION_TOO_LONG");
    assert_eq!(upstream.seen().len(), 1);
}
