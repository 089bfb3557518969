//! What callers do with stored conversations besides making turns.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use tonic::Code;

use crate::kept::*;
use crate::replicas::replica;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_conversation_is_created_read_and_updated,
        conversations_are_listed_by_their_latest_update_in_pages,
        turns_are_listed_in_pages,
        a_fork_has_the_history_up_to_a_turn,
        invalid_names_labels_and_times_are_refused,
    ]
}

fn labels(value: &str) -> std::collections::HashMap<String, String> {
    [("topic".to_owned(), value.to_owned())].into()
}

async fn a_conversation_is_created_read_and_updated(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    let mut client = one.conversation();
    let request = pb::CreateConversationRequest {
        conversation_id: "c".to_owned(),
        conversation: Some(pb::Conversation {
            model: "qwen-plus".to_owned(),
            labels: labels("birds"),
            ttl: Some(prost_types::Duration {
                seconds: 90,
                nanos: 0,
            }),
            ..pb::Conversation::default()
        }),
    };
    let created = client.create_conversation(mine(request.clone())).await;
    let created = created.unwrap().into_inner().conversation.unwrap();
    assert_eq!(created.name, NAME);
    assert_eq!(created.labels, labels("birds"));
    let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().unwrap().seconds;
    let kept = seconds(&created.expire_time) - seconds(&created.update_time);
    assert_eq!((kept, created.last_turn), (90, 0));
    assert_eq!(get(&mut two.conversation()).await, created);
    let again = client.create_conversation(mine(request)).await.unwrap_err();
    assert_fault(&again, Code::AlreadyExists, "CONVERSATION_EXISTS");

    let update = |conversation, paths: &[&str]| {
        mine(pb::UpdateConversationRequest {
            conversation: Some(conversation),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
        })
    };
    let changed = pb::Conversation {
        name: NAME.to_owned(),
        model: "qwen-audio-turbo".to_owned(),
        ..pb::Conversation::default()
    };
    let updated = client
        .update_conversation(update(changed.clone(), &[]))
        .await;
    let updated = updated.unwrap().into_inner().conversation.unwrap();
    assert_eq!(updated.model, "qwen-audio-turbo");
    assert_eq!(updated.labels, labels("birds"));
    let both = ["labels", "ttl"];
    let updated = client
        .update_conversation(update(changed.clone(), &both))
        .await;
    let updated = updated.unwrap().into_inner().conversation.unwrap();
    assert!(updated.labels.is_empty());
    assert_eq!(updated.ttl.as_ref().unwrap().seconds, 3600);
    assert_eq!(get(&mut two.conversation()).await, updated);
    let error = client.update_conversation(update(changed, &["name"])).await;
    assert_eq!(violations(&error.unwrap_err()), ["update_mask"]);
    // The model of the conversation is that of its turns.
    client.converse(mine(say("one"))).await.unwrap();
    assert_eq!(upstream.seen()[0].json()["model"], "qwen-audio-turbo");

    let anonymous = pb::CreateConversationRequest::default();
    let created = client.create_conversation(mine(anonymous)).await.unwrap();
    let created = created.into_inner().conversation.unwrap();
    assert_eq!(created.name.len(), "conversations/".len() + 36);
    let mut turn = say("one");
    turn.conversation.as_mut().unwrap().name = created.name;
    let error = client.converse(mine(turn)).await.unwrap_err();
    assert_eq!(violations(&error), ["conversation.model"]);
}

async fn conversations_are_listed_by_their_latest_update_in_pages(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    for id in ["c", "d", "e"] {
        create_as(&mut client, id, "k").await;
        // The order is that of the milliseconds.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    create_as(&mut client, "other", "l").await;
    client.converse(mine(say("one"))).await.unwrap();
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListConversationsRequest {
            page_size: 2,
            page_token,
        };
        let page = client.list_conversations(mine(request)).await.unwrap();
        let page = page.into_inner();
        names.extend(page.conversations.into_iter().map(|one| one.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        names,
        ["conversations/c", "conversations/e", "conversations/d"]
    );
    for (page_size, page_token, field) in [(-1, "", "page_size"), (1, "?", "page_token")] {
        let page_token = page_token.to_owned();
        let request = pb::ListConversationsRequest {
            page_size,
            page_token,
        };
        let error = client.list_conversations(mine(request)).await.unwrap_err();
        assert_eq!(violations(&error), [field]);
    }
}

async fn turns_are_listed_in_pages(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    for text in ["one", "two", "three"] {
        client.converse(mine(say(text))).await.unwrap();
    }
    // A turn of more than a page.
    let large = vec![audio(&vec![7; 1 << 20])];
    client.converse(mine(say_parts(large))).await.unwrap();
    for (newest_first, include_media, expected) in [
        (false, false, vec![vec![1, 2], vec![3, 4]]),
        (true, false, vec![vec![4, 3], vec![2, 1]]),
        (true, true, vec![vec![4], vec![3, 2], vec![1]]),
    ] {
        let (mut pages, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListTurnsRequest {
                name: NAME.to_owned(),
                page_size: 2,
                page_token,
                include_media,
                newest_first,
            };
            let page = client.list_turns(mine(request)).await.unwrap().into_inner();
            let numbers = page.turns.iter().map(|turn| turn.number);
            pages.push(numbers.collect::<Vec<_>>());
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(pages, expected);
    }
}

async fn a_fork_has_the_history_up_to_a_turn(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let parts = vec![audio(b"canary"), pb::content::Kind::Text("one".to_owned())];
    client.converse(mine(say_parts(parts))).await.unwrap();
    for text in ["two", "three"] {
        client.converse(mine(say(text))).await.unwrap();
    }
    let fork = |last_turn, id: &str| {
        mine(pb::ForkConversationRequest {
            name: NAME.to_owned(),
            last_turn,
            conversation_id: id.to_owned(),
        })
    };
    let copy = client.fork_conversation(fork(Some(2), "f")).await.unwrap();
    let copy = copy.into_inner().conversation.unwrap();
    assert_eq!(copy.name, "conversations/f");
    assert_eq!((copy.last_turn, copy.turn_count), (2, 2));
    let error = client.fork_conversation(fork(None, "f")).await.unwrap_err();
    assert_fault(&error, Code::AlreadyExists, "CONVERSATION_EXISTS");
    let empty = client.fork_conversation(fork(Some(0), "g")).await.unwrap();
    assert_eq!(empty.into_inner().conversation.unwrap().turn_count, 0);
    // It is independent of the first one.
    client
        .delete_conversation(mine(deleted(NAME)))
        .await
        .unwrap();
    let mut next = say("four");
    next.conversation.as_mut().unwrap().name = copy.name;
    let answer = client.converse(mine(next)).await.unwrap().into_inner();
    assert_eq!(answer.history_used.unwrap().turn, 3);
    assert_eq!(
        sent(&upstream),
        ["<audio>|one", "answer 0", "two", "answer 1", "four"]
    );
}

async fn invalid_names_labels_and_times_are_refused(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    let creating = |id: &str, conversation| {
        mine(pb::CreateConversationRequest {
            conversation_id: id.to_owned(),
            conversation: Some(conversation),
        })
    };
    let with_ttl = |seconds| pb::Conversation {
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..pb::Conversation::default()
    };
    for (id, conversation, field) in [
        ("a/b", pb::Conversation::default(), "conversation_id"),
        ("a", with_ttl(0), "conversation.ttl"),
        ("a", with_ttl(400_000_000), "conversation.ttl"),
        (
            "a",
            pb::Conversation {
                labels: labels(&"x".repeat(257)),
                ..pb::Conversation::default()
            },
            "conversation.labels",
        ),
        ("a", question(), "conversation"),
    ] {
        let error = client.create_conversation(creating(id, conversation)).await;
        assert_eq!(violations(&error.unwrap_err()), [field]);
    }
    for name in ["", "c", "conversations/", "conversations/a/turns/1"] {
        let error = client
            .get_conversation(mine(by_name(name)))
            .await
            .unwrap_err();
        assert_eq!(violations(&error), ["name"], "{name}");
    }
    let mut wrong = say("one");
    wrong.conversation.as_mut().unwrap().name = "c".to_owned();
    let error = client.converse(mine(wrong)).await.unwrap_err();
    let fields = violations(&error);
    assert!(
        fields.contains(&"conversation.name".to_owned()),
        "{fields:?}"
    );
    let nameless = pb::ConverseRequest {
        expected_turn: Some(1),
        ..ask_whole(question())
    };
    let error = client.converse(mine(nameless)).await.unwrap_err();
    assert_eq!(violations(&error), ["expected_turn"]);
}
