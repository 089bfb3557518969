//! Turns of stored conversations: their history, and one after the other over all replicas.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, TurnState};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::kept::*;
use crate::replicas::{process, replica};
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
    let instructed = |system: &str, text: &str| {
        let mut request = say(text);
        let messages = &mut request.conversation.as_mut().unwrap().messages;
        let mut instructions = messages[0].clone();
        instructions.role = pb::Role::System.into();
        instructions.content[0].kind = Some(pb::content::Kind::Text(system.to_owned()));
        messages.insert(0, instructions);
        request
    };
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
    assert_reason(&error, Code::InvalidArgument, "MEDIA_TOO_LARGE");
}

async fn errors_name_fields_of_the_new_messages(store: StoreSettings) {
    let unreachable = r#"{"code":"InvalidParameter.DataInspection","message":"download multimodal content timed out","request_id":"r"}"#;
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
    for wrong in [0, 2] {
        let error = client.converse(mine(expecting(wrong))).await.unwrap_err();
        assert_reason(&error, Code::Aborted, "STALE_CONVERSATION");
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
    assert_reason(&error, Code::Aborted, "CONVERSATION_BUSY");
    assert_eq!(detail(&error, "running_request_id"), "r1");
    let turn = format!("{NAME}/turns/1");
    let delete = pb::DeleteTurnRequest { name: turn };
    let error = client.delete_turn(mine(delete)).await.unwrap_err();
    assert_reason(&error, Code::Aborted, "CONVERSATION_BUSY");
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
    assert_reason(&error, Code::InvalidArgument, "CONTENT_BLOCKED");
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
    assert_reason(&error, Code::Aborted, "CALL_CANCELLED");
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
            Err(error) => assert_reason(&error, Code::Aborted, "CONVERSATION_BUSY"),
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
    assert_reason(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
    create(&mut client).await;
    assert!(turns(&mut client).await.is_empty());
}
