//! Turns of stored conversations: their messages, their history and their media.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, TurnState};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::database;
use crate::kept::*;
use crate::replicas::replica;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        the_history_is_sent_before_the_new_messages,
        a_stream_reports_its_turn,
        the_policy_limits_the_history,
        instructions_are_sent_first_and_once,
        media_are_stored_and_sent_again,
        errors_name_fields_of_the_new_messages,
        a_turn_that_begins_after_its_caller_left_ends,
    ]
}

/// PostgreSQL executes a statement that waits for a lock also if its client is gone.
async fn a_turn_that_begins_after_its_caller_left_ends(store: StoreSettings) {
    let store = StoreSettings {
        lease: Duration::from_secs(60),
        ..store
    };
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let mut lock = database::connection(&store).await;
    let text = "BEGIN; UPDATE conversations SET updated = updated + 0";
    sqlx::raw_sql(text).execute(&mut lock).await.unwrap();
    let mut left = mine(say("one"));
    left.set_timeout(Duration::from_millis(500));
    client.converse(left).await.unwrap_err();
    sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = client.converse(mine(say("two"))).await {
        assert!(Instant::now() < until, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sent(&upstream), ["two"]);
}

async fn the_history_is_sent_before_the_new_messages(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    create(&mut one.conversation()).await;
    let first = one.conversation().converse(mine(say("one"))).await.unwrap();
    let used = first.into_inner().history_used.unwrap();
    assert_eq!((used.turn, used.turns_sent, used.turns_left_out), (1, 0, 0));
    let second = two.conversation().converse(mine(say("two"))).await.unwrap();
    let used = second.into_inner().history_used.unwrap();
    assert_eq!((used.turn, used.turns_sent, used.turns_left_out), (2, 1, 0));
    assert!(used.estimated_input_tokens > 0);
    assert_eq!(sent(&upstream), ["one", "answer 0", "two"]);
    let stored = get(&mut one.conversation()).await;
    assert_eq!((stored.last_turn, stored.turn_count), (2, 2));
    assert_eq!(stored.running_request_id, "");
    let turns = turns(&mut one.conversation()).await;
    assert_eq!(turns[1].name, "conversations/c/turns/2");
    assert_eq!(text_of(&turns[1].messages[0]), "two");
    assert_eq!(text_of(turns[1].answer.as_ref().unwrap()), "answer 1");
    assert_eq!(turns[1].usage.as_ref().unwrap().input_tokens, Some(786));
    assert_eq!(turns[1].model, "qwen-audio-turbo");
    assert!(turns[1].end_time.is_some() && !turns[1].request_id.is_empty());
}

async fn a_stream_reports_its_turn(store: StoreSettings) {
    let steps = vec![
        sse(),
        piece(frame(1, "一", "null")),
        piece(frame(2, "二", "stop")),
        end(),
    ];
    let upstream = Upstream::always(steps).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let request = ask_stream(say("one").conversation.unwrap());
    let stream = client.converse_stream(mine(request)).await.unwrap();
    let events: Vec<_> = stream.into_inner().collect().await;
    let last = events.last().unwrap().as_ref().unwrap();
    let Some(Event::Completed(completed)) = &last.event else {
        panic!("{last:?}");
    };
    assert_eq!(completed.history_used.as_ref().unwrap().turn, 1);
    let turns = turns(&mut client).await;
    assert_eq!(text_of(turns[0].answer.as_ref().unwrap()), "一二");
    assert_eq!(turns[0].state(), TurnState::Complete);
}

async fn the_policy_limits_the_history(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    for text in ["one", "two", "three"] {
        client.converse(mine(say(text))).await.unwrap();
    }
    let mut limited = say("four");
    limited.history = Some(pb::HistoryPolicy {
        max_turns: Some(1),
        ..pb::HistoryPolicy::default()
    });
    let answer = client.converse(mine(limited)).await.unwrap();
    let used = answer.into_inner().history_used.unwrap();
    assert_eq!((used.turns_sent, used.turns_left_out), (1, 2));
    assert_eq!(sent(&upstream), ["three", "answer 2", "four"]);
    let mut limited = say("five");
    limited.history = Some(pb::HistoryPolicy {
        max_input_tokens: Some(0),
        ..pb::HistoryPolicy::default()
    });
    let answer = client.converse(mine(limited)).await.unwrap();
    let used = answer.into_inner().history_used.unwrap();
    assert_eq!((used.turns_sent, used.turns_left_out), (0, 4));
    assert_eq!(sent(&upstream), ["five"]);
    for (field, policy) in [
        ("history.max_turns", (Some(-1), None)),
        ("history.max_turns", (Some(1001), None)),
        ("history.max_input_tokens", (None, Some(-1))),
    ] {
        let mut wrong = say("six");
        wrong.history = Some(pb::HistoryPolicy {
            max_turns: policy.0,
            max_input_tokens: policy.1,
            ..pb::HistoryPolicy::default()
        });
        let error = client.converse(mine(wrong)).await.unwrap_err();
        assert_eq!(violations(&error), [field]);
    }
}

async fn instructions_are_sent_first_and_once(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client
        .converse(mine(instructed("be brief", "one")))
        .await
        .unwrap();
    client.converse(mine(say("two"))).await.unwrap();
    assert_eq!(sent(&upstream), ["be brief", "one", "answer 0", "two"]);
    let mut latest = say("three");
    latest.history = Some(pb::HistoryPolicy {
        max_turns: Some(1),
        ..pb::HistoryPolicy::default()
    });
    client.converse(mine(latest)).await.unwrap();
    assert_eq!(sent(&upstream), ["be brief", "two", "answer 1", "three"]);
    client
        .converse(mine(instructed("be long", "four")))
        .await
        .unwrap();
    let sent = sent(&upstream);
    assert_eq!((sent[0].as_str(), sent.len()), ("be long", 8));
    assert!(!sent.contains(&"be brief".to_owned()));
}

async fn media_are_stored_and_sent_again(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let two = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let sound = b"RIFF some samples".as_slice();
    for text in ["one", "two"] {
        let parts = vec![audio(sound), pb::content::Kind::Text(text.to_owned())];
        client.converse(mine(say_parts(parts))).await.unwrap();
    }
    let heard = |part: &pb::Content| part.kind == Some(audio(sound));
    let turns = turns(&mut client).await;
    assert!(turns.iter().all(|turn| heard(&turn.messages[0].content[0])));
    two.conversation()
        .converse(mine(say("three")))
        .await
        .unwrap();
    let all = [
        "<audio>|one",
        "answer 0",
        "<audio>|two",
        "answer 1",
        "three",
    ];
    assert_eq!(sent(&upstream), all);
    let body = upstream.seen()[2].json();
    let messages = &body["input"]["messages"];
    let media = [0, 2].map(|at| messages[at]["content"][0]["audio"].clone());
    assert_eq!(media[0], media[1]);
    assert!(media[0].as_str().unwrap().starts_with("data:"), "{media:?}");
    for (media, expected, left_out) in [
        (
            pb::HistoryMedia::LastTurn,
            ["[audio]|one", "<audio>|two"],
            1,
        ),
        (pb::HistoryMedia::None, ["[audio]|one", "[audio]|two"], 2),
    ] {
        let mut request = say("again");
        request.history = Some(pb::HistoryPolicy {
            media: media.into(),
            ..pb::HistoryPolicy::default()
        });
        // The copy has the first two turns only.
        let fork = pb::ForkConversationRequest {
            name: NAME.to_owned(),
            last_turn: Some(2),
            conversation_id: format!("fork-{left_out}"),
        };
        client.fork_conversation(mine(fork)).await.unwrap();
        let conversation = request.conversation.as_mut().unwrap();
        conversation.name = format!("conversations/fork-{left_out}");
        let answer = client.converse(mine(request)).await.unwrap();
        let used = answer.into_inner().history_used.unwrap();
        assert_eq!((used.turns_sent, used.media_left_out), (2, left_out));
        let sent = sent(&upstream);
        assert_eq!([sent[0].as_str(), sent[2].as_str()], expected);
    }
    let large = vec![audio(&vec![0; (1 << 20) + 1])];
    let error = client.converse(mine(say_parts(large))).await.unwrap_err();
    assert_fault(&error, Code::InvalidArgument, "MEDIA_TOO_LARGE");
}

async fn errors_name_fields_of_the_new_messages(store: StoreSettings) {
    let unreachable = "{\"code\":\"InvalidParameter.DataInspection\",\"request_id\":\"r\",\
                       \"message\":\"download multimodal content timed out\"}";
    let upstream = Upstream::start(move |number, _| match number {
        0 => json(200, &whole("answer 0")),
        _ => json(400, unreachable),
    })
    .await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client.converse(mine(say("one"))).await.unwrap();
    let mut request = ask_whole(question());
    request.conversation.as_mut().unwrap().name = NAME.to_owned();
    let error = client.converse(mine(request)).await.unwrap_err();
    let field = "conversation.messages[0].content[0].audio.uri";
    assert_eq!(violations(&error), [field], "{error:?}");
}
