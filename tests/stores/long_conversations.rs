//! Long conversations: only what is sent is read, and there are limits.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use tokio::time::Instant;
use tonic::Code;

use crate::database::{execute, number};
use crate::kept::*;
use crate::replicas::replica;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        of_ten_thousand_turns_only_the_latest_are_read,
        a_conversation_with_ten_thousand_media_is_copied_and_deleted,
        a_history_that_is_too_large_is_refused,
        a_conversation_has_a_maximum_number_of_turns,
    ]
}

/// Copies the first turn until there are ten thousand.
async fn insert_turns(store: &StoreSettings) {
    execute(
        store,
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system, model,
           reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
         SELECT tenant, conversation, i, '', 0, state, system, model, reason, tokens, bytes,
           media_bytes, created, ended, usage, messages, answer
         FROM turns, n WHERE number = 1",
    )
    .await;
    let head = "UPDATE conversations SET numbered = 10000, last_turn = 10000, turns = 10000";
    execute(store, head).await;
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
    let (upstream, _one, mut client) = with_one_turn(&store).await;
    insert_turns(&store).await;
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

async fn a_conversation_with_ten_thousand_media_is_copied_and_deleted(store: StoreSettings) {
    let (_upstream, _one, mut client) = with_one_turn(&store).await;
    insert_turns(&store).await;
    let (media, references) = match store.url.expose().starts_with("sqlite:") {
        true => (
            "INSERT INTO media (tenant, digest, uses, content)
             SELECT tenant, CAST(number AS BLOB), 1, CAST('content' AS BLOB) FROM turns",
            "INSERT INTO turn_media (tenant, conversation, number, digest)
             SELECT tenant, conversation, number, CAST(number AS BLOB) FROM turns",
        ),
        false => (
            "INSERT INTO media (tenant, digest, uses, content)
             SELECT tenant, CAST(CAST(number AS TEXT) AS BYTEA), 1, 'content' FROM turns",
            "INSERT INTO turn_media (tenant, conversation, number, digest)
             SELECT tenant, conversation, number, CAST(CAST(number AS TEXT) AS BYTEA) FROM turns",
        ),
    };
    execute(&store, media).await;
    execute(&store, references).await;
    let fork = pb::ForkConversationRequest {
        name: NAME.to_owned(),
        last_turn: None,
        conversation_id: "copy".to_owned(),
    };
    client.fork_conversation(mine(fork)).await.unwrap();
    let uses = "SELECT count(*) FROM media WHERE uses = 2";
    assert_eq!(number(&store, uses).await, 10_000);
    let delete = |name: &str| mine(deleted(name));
    client.delete_conversation(delete(NAME)).await.unwrap();
    let uses = "SELECT count(*) FROM media WHERE uses = 1";
    assert_eq!(number(&store, uses).await, 10_000);
    let copy = "conversations/copy";
    client.delete_conversation(delete(copy)).await.unwrap();
    for table in [
        "SELECT count(*) FROM conversations",
        "SELECT count(*) FROM turns",
        "SELECT count(*) FROM turn_media",
        "SELECT count(*) FROM media",
        "SELECT count(*) FROM calls",
    ] {
        assert_eq!(number(&store, table).await, 0, "{table}");
    }
}

async fn a_history_that_is_too_large_is_refused(store: StoreSettings) {
    let (upstream, _one, mut client) = with_one_turn(&store).await;
    execute(&store, "UPDATE turns SET bytes = 40000000").await;
    let error = client.converse(mine(say("two"))).await.unwrap_err();
    assert_fault(&error, Code::FailedPrecondition, "CONVERSATION_TOO_LONG");
    client.converse(mine(without_history("two"))).await.unwrap();
    assert_eq!(upstream.seen().len(), 2);
}

async fn a_conversation_has_a_maximum_number_of_turns(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    execute(&store, "UPDATE conversations SET numbered = 99999").await;
    client.converse(mine(say("one"))).await.unwrap();
    let error = client.converse(mine(say("two"))).await.unwrap_err();
    assert_fault(&error, Code::FailedPrecondition, "CONVERSATION_TOO_LONG");
    assert_eq!(upstream.seen().len(), 1);
}
