//! The turns of live sessions when something breaks or happens beside them: each is stored once, or
//! its response has no end.

use std::sync::Arc;
use std::time::Duration;

use dashgate::config::{Settings, StoreSettings};
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::{self, TurnState};
use tonic::Code;

use crate::database::execute;
use crate::faults::{blocking, server};
use crate::kept::*;
use crate::live_kept::{Bench, Live, by_hand, content, kept, message};
use crate::replicas::replica;
use crate::support::emulator::TestEmulator;
use crate::support::live::tone;
use crate::support::live_call::{LiveCall, answer, resumption};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_turn_beside_a_running_call_comes_after_it,
        a_deleted_conversation_ends_the_session,
        a_store_that_lost_turns_of_the_session_ends_it,
        a_session_that_is_resumed_stores_each_turn_once,
        a_session_that_is_reconnected_sends_its_history_and_stores_each_turn_once,
        a_response_whose_caller_left_is_a_cancelled_turn,
        a_response_whose_connection_broke_is_a_failed_turn,
        a_copy_has_the_turns_of_sessions,
        an_expired_conversation_ends_the_session,
        instructions_of_the_history_are_bounded,
        a_spoken_turn_of_the_emulator_follows_and_precedes_written_ones,
    ]
}

pub fn outages() -> Vec<Test> {
    tests![
        a_turn_waits_for_a_store_that_restarts,
        a_turn_that_cannot_be_stored_ends_the_session_with_its_usage,
    ]
}

async fn a_turn_beside_a_running_call_comes_after_it(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    let upstream = numbering(Duration::from_millis(700)).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    let running = tokio::spawn(async move { client.converse(mine(say("one"))).await });
    upstream.wait_for_requests(1).await;
    assert_eq!(live.exchange("a").await.turn, Some(2));
    let answer = running.await.unwrap().unwrap().into_inner();
    let used = answer.history_used.unwrap();
    assert_eq!((used.turn, used.turns_sent, used.turns_left_out), (1, 0, 0));
    let stored = get(&mut bench.client).await;
    assert_eq!((stored.last_turn, stored.turn_count), (2, 2));
    assert_eq!(live.exchange("b").await.turn, Some(3));
    let expecting = pb::ConverseRequest {
        expected_turn: Some(3),
        ..say("four")
    };
    one.conversation().converse(mine(expecting)).await.unwrap();
    let all = sent(&upstream);
    assert_eq!(all[..4], ["one", "answer 0", "question a", "answer a"]);
}

async fn a_deleted_conversation_ends_the_session(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    for is_created_again in [false, true] {
        let mut live = bench.talk().await;
        live.exchange("a").await;
        let delete = mine(deleted(NAME));
        bench.client.delete_conversation(delete).await.unwrap();
        if is_created_again {
            create(&mut bench.client).await;
        }
        live.ask("lost").await;
        live.socket.answer("b", "lost");
        let (error, events) = failed(&mut live).await;
        assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
        assert!(call_failure(&error).usage.is_some());
        assert!(!events.iter().any(is_end), "{events:?}");
        if !is_created_again {
            create(&mut bench.client).await;
        }
    }
    assert!(turns(&mut bench.client).await.is_empty());
}

async fn a_store_that_lost_turns_of_the_session_ends_it(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    assert_eq!(live.exchange("a").await.turn, Some(1));
    assert_eq!(live.exchange("b").await.turn, Some(2));
    // As a standby that was behind.
    let lose = "DELETE FROM turns WHERE number = 2;
                UPDATE conversations SET numbered = 1, last_turn = 1, turns = 1";
    execute(&store, lose).await;
    live.ask("lost").await;
    live.socket.answer("c", "lost");
    let (error, events) = failed(&mut live).await;
    assert_fault(&error, Code::DataLoss, "HISTORY_REGRESSED");
    assert_eq!(detail(&error, "last_turn"), "1");
    assert!(!events.iter().any(is_end), "{events:?}");
    let mut live = bench.talk().await;
    assert_eq!(live.exchange("b").await.turn, Some(2));
}

fn is_end(event: &Heard) -> bool {
    matches!(event, Heard::ResponseCompleted(_))
}

/// The rest of a session that fails.
async fn failed(live: &mut Live) -> (tonic::Status, Vec<Heard>) {
    let mut events = Vec::new();
    loop {
        match live.call.next().await {
            Ok(Some(event)) => events.push(event),
            Ok(None) => panic!("the session ended with OK"),
            Err(error) => return (error, events),
        }
    }
}

async fn a_session_that_is_resumed_stores_each_turn_once(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    live.exchange("a").await;
    live.ask("question b").await;
    live.socket.response_created("b");
    live.socket.text("b", "answer b");
    let is_delta = |event: &Heard| matches!(event, Heard::ResponseDelta(_));
    live.call.until(is_delta).await;
    let last = live.call.sequence;
    drop(live.call);
    live.socket.response_done("b", "completed");
    // It is stored while it is not read.
    while get(&mut bench.client).await.last_turn < 2 {}
    let again = LiveCall::open_as(&bench.gateway, resumption(&live.started, last), "k");
    live.call = again.await.unwrap();
    assert_eq!(live.completed().await.turn, Some(2));
    // The first answer is read again, with its turn.
    drop(live.call);
    let again = LiveCall::open_as(&bench.gateway, resumption(&live.started, 0), "k");
    live.call = again.await.unwrap();
    assert_eq!(live.completed().await.turn, Some(1));
    assert_eq!(live.completed().await.turn, Some(2));
    assert_eq!(live.exchange("c").await.turn, Some(3));
    assert_eq!(turns(&mut bench.client).await.len(), 3);
}

async fn a_session_that_is_reconnected_sends_its_history_and_stores_each_turn_once(
    store: StoreSettings,
) {
    let (_upstream, _one, mut client) = with_one_turn(&store).await;
    let mut bench = Bench::at(&store, |_| {}).await;
    let continued = pb::LiveSetup {
        continue_after_limit: true,
        ..by_hand()
    };
    let mut live = bench.open(continued).await;
    live.exchange("a").await;
    live.socket.cut();
    live.socket = bench.upstream.session().await;
    live.socket.configured().await;
    let sent = [
        message("user", "one"),
        message("assistant", "answer 0"),
        message("user", "question a"),
        message("assistant", "answer a"),
    ];
    assert_eq!(live.messages(4).await, sent);
    assert_eq!(live.exchange("b").await.turn, Some(3));
    let turns = turns(&mut client).await;
    assert_eq!(turns.len(), 3);
    let third = [
        message("user", "question b"),
        message("assistant", "answer b"),
    ];
    assert_eq!(content(&turns[2]), third);
}

/// Begins a response in a session of its own.
async fn begun(bench: &mut Bench) -> Live {
    let mut live = bench.talk().await;
    live.exchange("a").await;
    live.ask("question b").await;
    live.socket.response_created("b");
    live.socket.text("b", "answer");
    let is_delta = |event: &Heard| matches!(event, Heard::ResponseDelta(_));
    live.call.until(is_delta).await;
    live
}

async fn until_two(client: &mut Conversations) -> Vec<pb::Turn> {
    loop {
        let turns = turns(client).await;
        if turns.len() == 2 {
            return turns;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_response_whose_caller_left_is_a_cancelled_turn(store: StoreSettings) {
    let at_once = |settings: &mut Settings| settings.live.resume_window = Duration::ZERO;
    let mut bench = Bench::at(&store, at_once).await;
    create(&mut bench.client).await;
    let live = begun(&mut bench).await;
    drop(live.call);
    let turns = until_two(&mut bench.client).await;
    assert_eq!(turns[0].state(), TurnState::Complete);
    assert_eq!(turns[1].state(), TurnState::Cancelled);
    assert_eq!(content(&turns[1]), [message("user", "question b")]);
    assert_eq!(get(&mut bench.client).await.last_turn, 1);
}

async fn a_response_whose_connection_broke_is_a_failed_turn(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = begun(&mut bench).await;
    live.socket.cut();
    let (_, events) = failed(&mut live).await;
    let Some(Heard::ResponseCompleted(end)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(end.turn, Some(2));
    let turns = turns(&mut bench.client).await;
    assert_eq!(turns[1].state(), TurnState::Failed);
    assert_ne!(turns[1].error_reason(), pb::ErrorReason::Unspecified);
}

async fn a_copy_has_the_turns_of_sessions(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    live.exchange("a").await;
    live.exchange("b").await;
    let fork = pb::ForkConversationRequest {
        name: NAME.to_owned(),
        conversation_id: "copy".to_owned(),
        last_turn: Some(1),
    };
    let copy = bench.client.fork_conversation(mine(fork)).await.unwrap();
    let copy = copy.into_inner().conversation.unwrap();
    assert_eq!((copy.last_turn, copy.turn_count), (1, 1));
    let name = format!("{NAME}/turns/2");
    let delete = mine(pb::DeleteTurnRequest { name });
    bench.client.delete_turn(delete).await.unwrap();
    assert_eq!(get(&mut bench.client).await.last_turn, 1);
    assert_eq!(live.exchange("c").await.turn, Some(3));
    let numbers: Vec<_> = turns(&mut bench.client).await;
    let numbers: Vec<_> = numbers.iter().map(|turn| turn.number).collect();
    assert_eq!(numbers, [1, 3]);
}

async fn an_expired_conversation_ends_the_session(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let conversation = pb::Conversation {
        name: NAME.to_owned(),
        ttl: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..pb::Conversation::default()
    };
    let update = pb::UpdateConversationRequest {
        conversation: Some(conversation),
        update_mask: None,
    };
    bench
        .client
        .update_conversation(mine(update))
        .await
        .unwrap();
    let mut live = bench.talk().await;
    live.exchange("a").await;
    let by_name = || mine(by_name(NAME));
    while bench.client.get_conversation(by_name()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    live.ask("question b").await;
    live.socket.answer("b", "answer");
    let (error, _) = failed(&mut live).await;
    assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
}

async fn a_spoken_turn_of_the_emulator_follows_and_precedes_written_ones(store: StoreSettings) {
    let emulator = TestEmulator::plain().await;
    let base_url = format!("http://{}/api/v1", emulator.address);
    let with_store = |settings: &mut Settings| settings.store = Some(store.clone());
    let gateway = gateway_at(base_url, with_store).await;
    let mut client = gateway.conversation();
    create(&mut client).await;
    client.converse(mine(say("one"))).await.unwrap();
    let mut call = LiveCall::open_as(&gateway, kept(), "k").await.unwrap();
    for piece in tone(1500).chunks(1600) {
        let bytes: Vec<u8> = piece.iter().flat_map(|s| s.to_le_bytes()).collect();
        call.send(Ask::Audio(bytes.into())).await;
    }
    call.half_close();
    let events = call.rest().await;
    let (_, said, _) = answer(&events);
    let turn = events.iter().find_map(|event| match event {
        Heard::ResponseCompleted(end) => end.turn,
        _ => None,
    });
    assert_eq!(turn, Some(2), "{events:?}");
    let heard = events.iter().find_map(|event| match event {
        Heard::InputTranscript(transcript) if transcript.r#final => Some(&transcript.text),
        _ => None,
    });
    let third = client.converse(mine(say("three"))).await.unwrap();
    let used = third.into_inner().history_used.unwrap();
    assert_eq!((used.turn, used.turns_sent), (3, 2));
    let turns = turns(&mut client).await;
    let second = [message("user", heard.unwrap()), message("assistant", &said)];
    assert_eq!(content(&turns[1]), second);
}

async fn instructions_of_the_history_are_bounded(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    create(&mut one.conversation()).await;
    let long = mine(instructed(&"x".repeat(1 << 20), "one"));
    one.conversation().converse(long).await.unwrap();
    let mut bench = Bench::at(&store, |_| {}).await;
    let error = bench.refused(by_hand(), "k").await;
    assert_fault(&error, Code::FailedPrecondition, "CONVERSATION_TOO_LONG");
    let instructions = "short".to_owned();
    bench
        .open(pb::LiveSetup {
            instructions,
            ..by_hand()
        })
        .await;
}

async fn a_turn_waits_for_a_store_that_restarts(_: StoreSettings) {
    let (server, store) = server().await;
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    server.kill();
    live.ask("question a").await;
    live.socket.answer("a", "answer a");
    let again = Arc::clone(&server);
    blocking(move || again.run()).await;
    assert_eq!(live.completed().await.turn, Some(1));
    assert_eq!(turns(&mut bench.client).await.len(), 1);
}

async fn a_turn_that_cannot_be_stored_ends_the_session_with_its_usage(_: StoreSettings) {
    let (server, store) = server().await;
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    live.exchange("a").await;
    server.kill();
    live.ask("question b").await;
    live.socket.answer("b", "answer b");
    let (error, events) = failed(&mut live).await;
    assert_fault(&error, Code::Internal, "ANSWER_NOT_SAVED");
    let usage = call_failure(&error).usage.unwrap();
    assert_eq!(usage.input_tokens, Some(40));
    assert!(!events.iter().any(is_end), "{events:?}");
}
