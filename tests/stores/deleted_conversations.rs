//! Conversations that are deleted, have expired, or belong to another caller.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::method::{CONVERSATION_SERVICE, Method};
use dashgate::grpc::pb;
use dashgate::hex;
use dashgate::store::{Store, StoreConfig};
use tonic::{Code, Status};

use crate::kept::*;
use crate::replicas::replica;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        another_caller_finds_no_conversation_with_any_method,
        a_name_that_does_not_exist_is_not_found_with_any_method,
        a_deleted_turn_is_no_history,
        a_deleted_failed_turn_leaves_the_turn_of_its_retry,
        a_deleted_conversation_leaves_nothing_in_the_store,
        media_are_deleted_with_the_last_turn_that_has_them,
        an_expired_conversation_is_not_found,
    ]
}

/// The errors of every method for this conversation, of the caller with this key.
async fn errors(client: &mut Conversations, name: &str, key: &str) -> Vec<Status> {
    let turn = format!("{name}/turns/1");
    let (owned, id) = (name.to_owned(), "copy".to_owned());
    let mut asked = say("hello");
    asked.conversation.as_mut().unwrap().name = name.to_owned();
    let mut streamed = ask_stream(asked.conversation.clone().unwrap());
    let conversation = streamed.conversation.as_mut().unwrap();
    conversation.model = "qwen-audio-turbo".to_owned();
    let update = pb::UpdateConversationRequest {
        conversation: Some(pb::Conversation {
            name: name.to_owned(),
            model: "m".to_owned(),
            ..pb::Conversation::default()
        }),
        update_mask: None,
    };
    let list = pb::ListTurnsRequest {
        name: owned.clone(),
        ..pb::ListTurnsRequest::default()
    };
    let fork = pb::ForkConversationRequest {
        name: owned.clone(),
        last_turn: None,
        conversation_id: id,
    };
    let cancel = pb::CancelTurnRequest {
        name: owned,
        request_id: String::new(),
    };
    vec![
        client.converse(with_key(asked, key)).await.unwrap_err(),
        match client.converse_stream(with_key(streamed, key)).await {
            Ok(_) => panic!("a stream of {name}"),
            Err(error) => error,
        },
        client
            .get_conversation(with_key(by_name(name), key))
            .await
            .unwrap_err(),
        client
            .update_conversation(with_key(update, key))
            .await
            .unwrap_err(),
        client.list_turns(with_key(list, key)).await.unwrap_err(),
        client
            .delete_turn(with_key(pb::DeleteTurnRequest { name: turn }, key))
            .await
            .unwrap_err(),
        client
            .fork_conversation(with_key(fork, key))
            .await
            .unwrap_err(),
        client.cancel_turn(with_key(cancel, key)).await.unwrap_err(),
        client
            .delete_conversation(with_key(deleted(name), key))
            .await
            .unwrap_err(),
    ]
}

async fn another_caller_finds_no_conversation_with_any_method(store: StoreSettings) {
    let (upstream, _one, mut client) = with_one_turn(&store).await;
    let before = (get(&mut client).await, turns(&mut client).await);
    let of_others = errors(&mut client, NAME, "l").await;
    let of_none = errors(&mut client, "conversations/none", "l").await;
    let of_service = |method: &&Method| method.service() == CONVERSATION_SERVICE;
    let methods = Method::ALL.iter().filter(of_service).count();
    // All but CreateConversation and ListConversations, which are checked below.
    assert_eq!(of_others.len(), methods - 2);
    for (other, none) in of_others.iter().zip(&of_none) {
        assert_fault(other, Code::NotFound, "CONVERSATION_NOT_FOUND");
        assert_eq!(other.message(), none.message());
    }
    let request = pb::ListConversationsRequest::default();
    let list = client
        .list_conversations(with_key(request, "l"))
        .await
        .unwrap();
    assert!(list.into_inner().conversations.is_empty());
    assert_eq!(before, (get(&mut client).await, turns(&mut client).await));
    assert_eq!(upstream.seen().len(), 1);
    // The same id is free for another caller.
    create_as(&mut client, "c", "l").await;
    let answer = client.converse(with_key(say("two"), "l")).await.unwrap();
    assert_eq!(answer.into_inner().history_used.unwrap().turns_sent, 0);
    assert_eq!(sent(&upstream), ["two"]);
}

async fn a_name_that_does_not_exist_is_not_found_with_any_method(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    for error in errors(&mut client, NAME, "k").await {
        assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
    assert!(upstream.seen().is_empty());
}

async fn a_deleted_turn_is_no_history(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    for text in ["one", "two"] {
        client.converse(mine(say_once(text, text))).await.unwrap();
    }
    let delete = |number| {
        let name = format!("{NAME}/turns/{number}");
        mine(pb::DeleteTurnRequest { name })
    };
    client.delete_turn(delete(2)).await.unwrap();
    let error = client.delete_turn(delete(2)).await.unwrap_err();
    assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
    let stored = get(&mut client).await;
    assert_eq!((stored.last_turn, stored.turn_count), (1, 1));
    // Its stored answer is deleted, too, and its number is not used again.
    let again = client.converse(mine(say_once("two", "two"))).await;
    assert_eq!(again.unwrap().into_inner().history_used.unwrap().turn, 3);
    assert_eq!(sent(&upstream), ["one", "answer 0", "two"]);
}

async fn a_deleted_failed_turn_leaves_the_turn_of_its_retry(store: StoreSettings) {
    let refused = r#"{"code":"DataInspectionFailed","message":"no","request_id":"r"}"#;
    let slow = Step::Pause(Duration::from_millis(700));
    let upstream = Upstream::start(move |number, _| match number {
        0 => json(400, refused),
        _ => [vec![slow.clone()], json(200, &whole("fine"))].concat(),
    })
    .await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let request = say_once("one", "r1");
    client.converse(mine(request.clone())).await.unwrap_err();
    let mut again = one.conversation();
    let retry = request.clone();
    let retried = tokio::spawn(async move { again.converse(mine(retry)).await });
    upstream.wait_for_requests(2).await;
    let name = format!("{NAME}/turns/1");
    let delete = pb::DeleteTurnRequest { name };
    client.delete_turn(mine(delete)).await.unwrap();
    // The retry still runs, and its answer is stored.
    let retried = retried.await.unwrap().unwrap().into_inner();
    assert_eq!(text(&retried), "fine");
    let replayed = client.converse(mine(request)).await.unwrap();
    assert!(replayed.metadata().contains_key("idempotent-replay"));
    assert_eq!(upstream.seen().len(), 2);
    let names: Vec<_> = turns(&mut client)
        .await
        .iter()
        .map(|turn| turn.name.clone())
        .collect();
    assert_eq!(names, [format!("{NAME}/turns/2")]);
}

/// All bytes of the store.
fn bytes(store: &StoreSettings) -> Vec<u8> {
    let url = store.url.expose();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let mut bytes = std::fs::read(path).unwrap();
        for end in ["-wal", "-shm"] {
            let path = format!("{path}{end}");
            if let Ok(more) = std::fs::read(&path) {
                bytes.extend(more);
            }
        }
        return bytes;
    }
    let database = url.split('/').nth(3).unwrap().split('?').next().unwrap();
    let server = postgres::shared();
    let dump = server
        .command("pg_dump")
        .args(["-U", "postgres", "--inserts", "-h"])
        .arg(server.dir())
        .arg(database)
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    dump.stdout
}

/// Whether the store has this text, as it is or as PostgreSQL writes bytes.
fn has(store: &StoreSettings, text: &str) -> bool {
    let bytes = bytes(store);
    let hex = hex::encode(text.as_bytes());
    [text, &hex].iter().any(|text| {
        let text = text.as_bytes();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

async fn a_deleted_conversation_leaves_nothing_in_the_store(store: StoreSettings) {
    let upstream = Upstream::start(|number, _| match number {
        0 => json(200, &whole("canary of an answer")),
        _ => json(
            400,
            r#"{"code":"DataInspectionFailed","message":"","request_id":"r"}"#,
        ),
    })
    .await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let sound = [b"canary of a medium ".as_slice(), &vec![9; 100_000]].concat();
    let question = pb::content::Kind::Text("canary of a question".to_owned());
    let turn = say_parts(vec![audio(&sound), question]);
    client.converse(mine(turn)).await.unwrap();
    client
        .converse(mine(say("canary of a failure")))
        .await
        .unwrap_err();
    let canaries = [
        "canary of an answer",
        "canary of a medium",
        "canary of a question",
        "canary of a failure",
    ];
    for canary in canaries {
        assert!(has(&store, canary), "{canary}");
    }
    client
        .delete_conversation(mine(deleted(NAME)))
        .await
        .unwrap();
    for canary in canaries {
        assert!(!has(&store, canary), "{canary}");
    }
}

async fn media_are_deleted_with_the_last_turn_that_has_them(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    for _ in 0..2 {
        let turn = say_parts(vec![audio(b"canary")]);
        client.converse(mine(turn)).await.unwrap();
    }
    for (number, is_left) in [(1, true), (2, false)] {
        let name = format!("{NAME}/turns/{number}");
        let delete = pb::DeleteTurnRequest { name };
        client.delete_turn(mine(delete)).await.unwrap();
        assert_eq!(has(&store, "canary"), is_left);
    }
}

async fn an_expired_conversation_is_not_found(mut store: StoreSettings) {
    store.conversation_ttl = Duration::from_secs(1);
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client.converse(mine(say("canary"))).await.unwrap();
    loop {
        match client.get_conversation(mine(by_name(NAME))).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => {
                assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
                break;
            }
        }
    }
    let error = client.converse(mine(say("two"))).await.unwrap_err();
    assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
    assert!(has(&store, "canary"));
    let config = StoreConfig {
        url: store.url.clone(),
        max_connections: 1,
        migrate: false,
        lease: store.lease,
    };
    Store::open(&config).await.unwrap().sweep().await.unwrap();
    assert!(!has(&store, "canary"));
    create(&mut client).await;
    assert!(turns(&mut client).await.is_empty());
    assert_eq!(upstream.seen().len(), 1);
}
