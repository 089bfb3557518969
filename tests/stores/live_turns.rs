//! Live sessions that continue a stored conversation: what they read of it, and their turns.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::{self, TurnState};
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use crate::kept::*;
use crate::live_kept::{Bench, Live, SOON, by_hand, content, kept, message, of, request};
use crate::replicas::replica;
use crate::support::live_call::LiveCall;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_session_sends_the_history_and_its_turns_are_history_of_calls,
        the_latest_whole_turns_that_fit_are_sent,
        instructions_of_the_history_apply_unless_the_setup_has_some,
        speech_is_stored_by_its_transcript_also_if_that_comes_late,
        speech_without_a_transcript_is_stored_after_a_second,
        tool_calls_and_their_results_are_stored,
        the_text_of_an_interrupted_response_is_stored,
        a_response_that_said_nothing_leaves_its_question_to_the_next_turn,
        a_response_that_failed_is_a_turn_and_no_history,
        a_session_that_cannot_continue_a_conversation_opens_no_connection,
    ]
}

async fn a_session_sends_the_history_and_its_turns_are_history_of_calls(store: StoreSettings) {
    let (upstream, one, mut client) = with_one_turn(&store).await;
    let mut bench = Bench::at(&store, |_| {}).await;
    let mut live = bench.talk().await;
    let history = [message("user", "one"), message("assistant", "answer 0")];
    assert_eq!(live.messages(2).await, history);
    let used = live.started.history_used.unwrap();
    assert_eq!((used.turn, used.turns_sent, used.turns_left_out), (1, 1, 0));
    assert!(used.estimated_input_tokens > 0);
    let before = get(&mut client).await;
    assert_eq!(live.exchange("a").await.turn, Some(2));
    assert_eq!(live.exchange("b").await.turn, Some(3));
    let stored = get(&mut client).await;
    assert_eq!((stored.last_turn, stored.turn_count), (3, 3));
    let time = |stored: &pb::Conversation| {
        let time = stored.expire_time.unwrap();
        (time.seconds, time.nanos)
    };
    assert!(time(&stored) > time(&before));
    let listed = turns(&mut client).await;
    let second = [
        message("user", "question a"),
        message("assistant", "answer a"),
    ];
    assert_eq!(content(&listed[1]), second);
    assert_eq!(listed[1].state(), TurnState::Complete);
    assert_eq!(
        listed[1].request_id,
        format!("{}/1", live.started.session_id)
    );
    assert_eq!(listed[1].usage.as_ref().unwrap().input_tokens, Some(20));
    assert_eq!(listed[1].model, "qwen3-omni-flash-realtime");
    live.call.half_close();
    live.socket.finish().await;
    live.call.rest().await;
    let answer = client.converse(mine(say("four"))).await.unwrap();
    assert_eq!(answer.into_inner().history_used.unwrap().turn, 4);
    let mut expected = vec!["one", "answer 0", "question a", "answer a"];
    expected.extend(["question b", "answer b", "four"]);
    assert_eq!(sent(&upstream), expected);
    let mut again = bench.talk().await;
    assert_eq!(again.messages(8).await.len(), 8);
    assert_eq!(again.started.history_used.unwrap().turn, 4);
    drop(one);
}

fn limited(history: pb::HistoryPolicy) -> pb::LiveSetup {
    pb::LiveSetup {
        conversation: Some(pb::LiveConversation {
            history: Some(history),
            ..kept().conversation.unwrap()
        }),
        ..by_hand()
    }
}

async fn the_latest_whole_turns_that_fit_are_sent(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let long = "x".repeat(40 << 10);
    client.converse(mine(say("one"))).await.unwrap();
    client.converse(mine(say(&long))).await.unwrap();
    let parts = vec![audio(b"RIFF"), text_part("three")];
    client.converse(mine(say_parts(parts))).await.unwrap();
    let mut bench = Bench::at(&store, |_| {}).await;
    // (turns that are sent, the first message of them)
    let all = pb::HistoryPolicy::default();
    let newest = pb::HistoryPolicy {
        max_turns: Some(1),
        ..all
    };
    let tokens = pb::HistoryPolicy {
        max_input_tokens: Some(2000),
        media: pb::HistoryMedia::None.into(),
        ..all
    };
    for (policy, turns, first) in [
        (all, 3, "one"),
        (newest, 1, "[audio]\nthree"),
        (tokens, 1, "[audio]\nthree"),
    ] {
        let mut live = bench.open(limited(policy)).await;
        let used = live.started.history_used.unwrap();
        assert_eq!((used.turns_sent, used.turns_left_out), (turns, 3 - turns));
        assert_eq!(used.media_left_out, 1);
        assert_eq!(live.messages(1).await, [message("user", first)]);
    }
    client.converse(mine(say(&long))).await.unwrap();
    let mut live = bench.open(limited(all)).await;
    let used = live.started.history_used.unwrap();
    assert_eq!((used.turns_sent, used.turns_left_out), (2, 2));
    assert_eq!(live.messages(1).await, [message("user", "[audio]\nthree")]);
    let none = pb::HistoryPolicy {
        max_turns: Some(0),
        ..all
    };
    let mut live = bench.open(limited(none)).await;
    assert_eq!(live.started.history_used.unwrap().turns_sent, 0);
    assert_eq!(live.exchange("a").await.turn, Some(5));
    assert_eq!(live.socket.seen.len(), 3, "{:?}", live.socket.kinds());
}

fn text_part(text: &str) -> pb::content::Kind {
    pb::content::Kind::Text(text.to_owned())
}

async fn instructions_of_the_history_apply_unless_the_setup_has_some(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let request = instructed("be short", "one");
    client.converse(mine(request)).await.unwrap();
    let mut bench = Bench::at(&store, |_| {}).await;
    let mut live = bench.talk().await;
    let instructions = |live: &Live| live.socket.seen[0]["session"]["instructions"].clone();
    assert_eq!(instructions(&live), "be short");
    live.exchange("a").await;
    let own = pb::LiveSetup {
        instructions: "be long".to_owned(),
        ..by_hand()
    };
    let mut live = bench.open(own).await;
    assert_eq!(instructions(&live), "be long");
    live.exchange("b").await;
    let update = pb::UpdateSession {
        instructions: Some("be kind".to_owned()),
        ..pb::UpdateSession::default()
    };
    live.exchange("c").await;
    live.call.send(Ask::Update(update)).await;
    live.exchange("d").await;
    let turns = turns(&mut client).await;
    let system = |turn: &pb::Turn| match content(turn).remove(0) {
        (role, text) if role == "system" => text,
        _ => String::new(),
    };
    let all: Vec<_> = turns.iter().map(system).collect();
    assert_eq!(all, ["be short", "", "be long", "", "be kind"]);
    client.converse(mine(say("two"))).await.unwrap();
    assert_eq!(sent(&upstream)[0], "be kind");
    assert_eq!(
        bench.talk().await.socket.seen[0]["session"]["instructions"],
        "be kind"
    );
}

async fn speech_is_stored_by_its_transcript_also_if_that_comes_late(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.open(kept()).await;
    live.speech("i1");
    live.heard("i1", "first words");
    live.socket.answer("a", "first answer");
    assert_eq!(live.completed().await.turn, Some(1));
    live.speech("i2");
    live.socket.answer("b", "second answer");
    // Events about the caller's input are not held back by a turn that is not stored.
    live.socket.speech_started("i3");
    let is_speech = |event: &Heard| matches!(event, Heard::SpeechStarted(_));
    live.call.until(is_speech).await;
    let before = live.call.until(is_speech).await;
    let is_end = |event: &Heard| matches!(event, Heard::ResponseCompleted(_));
    assert!(!before.iter().any(is_end), "{before:?}");
    live.heard("i2", "second words");
    assert_eq!(live.completed().await.turn, Some(2));
    let turns = turns(&mut bench.client).await;
    let first = [
        message("user", "first words"),
        message("assistant", "first answer"),
    ];
    assert_eq!(content(&turns[0]), first);
    let second = [
        message("user", "second words"),
        message("assistant", "second answer"),
    ];
    assert_eq!(content(&turns[1]), second);
}

async fn speech_without_a_transcript_is_stored_after_a_second(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.open(kept()).await;
    let begun = Instant::now();
    live.speech("i1");
    live.socket.answer("a", "answer");
    assert_eq!(live.completed().await.turn, Some(1));
    assert!(begun.elapsed() > SOON);
    // It belongs to no other turn.
    live.heard("i1", "too late");
    live.speech("i2");
    live.socket.send(json!({
        "type": "conversation.item.input_audio_transcription.failed", "item_id": "i2",
        "error": {"code": "c", "message": "m"},
    }));
    let begun = Instant::now();
    live.socket.answer("b", "answer");
    assert_eq!(live.completed().await.turn, Some(2));
    assert!(begun.elapsed() < SOON);
    for turn in turns(&mut bench.client).await {
        assert_eq!(content(&turn)[0], message("user", "[audio]"));
        assert_eq!(turn.messages.len(), 1);
    }
}

async fn tool_calls_and_their_results_are_stored(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    live.ask("weather?").await;
    live.socket.response_created("a");
    for (kind, key, value) in [
        ("delta", "delta", "{\"city\":"),
        ("delta", "delta", "\"Ulm\"}"),
        ("done", "arguments", "{\"city\":\"Ulm\"}"),
    ] {
        live.socket.send(json!({
            "type": format!("response.function_call_arguments.{kind}"), "response_id": "a",
            "item_id": "call", "output_index": 0, "call_id": "c1", "name": "get_weather",
            key: value,
        }));
    }
    live.socket.response_done("a", "completed");
    assert_eq!(live.completed().await.turn, Some(1));
    let result = pb::ToolResult {
        tool_call_id: "c1".to_owned(),
        output: "rain".to_owned(),
    };
    live.call.send(Ask::ToolResult(result)).await;
    live.call.send(request()).await;
    live.socket.until("response.create").await;
    live.socket.answer("b", "It rains.");
    assert_eq!(live.completed().await.turn, Some(2));
    let turns = turns(&mut bench.client).await;
    let call = &turns[0].answer.as_ref().unwrap().tool_calls[0];
    let function = call;
    assert_eq!((&*call.id, &*function.name), ("c1", "get_weather"));
    assert_eq!(function.arguments, "{\"city\":\"Ulm\"}");
    assert_eq!(turns[1].messages[0].tool_call_id, "c1");
    let second = [message("tool", "rain"), message("assistant", "It rains.")];
    assert_eq!(content(&turns[1]), second);
}

async fn the_text_of_an_interrupted_response_is_stored(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    live.ask("count").await;
    live.socket.response_created("a");
    live.socket.text("a", "one, two");
    let is_delta = |event: &Heard| matches!(event, Heard::ResponseDelta(_));
    live.call.until(is_delta).await;
    let cancel = pb::CancelResponse::default();
    live.call.send(Ask::CancelResponse(cancel)).await;
    live.socket.until("response.cancel").await;
    live.socket.text("a", ", three");
    live.socket.response_done("a", "cancelled");
    let end = live.completed().await;
    assert_eq!(end.status(), pb::ResponseStatus::Cancelled);
    assert_eq!(end.turn, Some(1));
    let turns = turns(&mut bench.client).await;
    assert_eq!(turns[0].state(), TurnState::Complete);
    let said = [message("user", "count"), message("assistant", "one, two")];
    assert_eq!(content(&turns[0]), said);
}

async fn a_response_that_said_nothing_leaves_its_question_to_the_next_turn(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    live.ask("count").await;
    live.socket.response_created("a");
    live.socket.response_done("a", "cancelled");
    assert_eq!(live.completed().await.turn, None);
    assert_eq!(live.exchange("b").await.turn, Some(1));
    let turns = turns(&mut bench.client).await;
    assert_eq!(turns.len(), 1);
    let texts: Vec<_> = turns[0].messages[0].content.iter().collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(content(&turns[0])[0], message("user", "countquestion b"));
}

async fn a_response_that_failed_is_a_turn_and_no_history(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let mut live = bench.talk().await;
    live.ask("count").await;
    live.socket.response_created("a");
    live.socket.text("a", "one");
    live.socket.response_done("a", "failed");
    assert_eq!(live.completed().await.turn, Some(1));
    assert_eq!(live.exchange("b").await.turn, Some(2));
    let turns = turns(&mut bench.client).await;
    assert_eq!(turns[0].state(), TurnState::Failed);
    assert_eq!(turns[0].error_reason(), pb::ErrorReason::UpstreamInternal);
    assert_eq!(turns[0].usage.as_ref().unwrap().output_tokens, Some(10));
    assert_eq!(content(&turns[0]), [message("user", "count")]);
    let stored = get(&mut bench.client).await;
    assert_eq!((stored.last_turn, stored.turn_count), (2, 1));
    // The question is part of DashScope's conversation.
    assert_eq!(content(&turns[1])[0], message("user", "countquestion b"));
    let live = bench.talk().await;
    assert_eq!(live.started.history_used.unwrap().turns_sent, 1);
}

async fn a_session_that_cannot_continue_a_conversation_opens_no_connection(store: StoreSettings) {
    let mut bench = Bench::new(&store).await;
    let expecting = |turn| pb::LiveSetup {
        conversation: Some(pb::LiveConversation {
            expected_turn: Some(turn),
            ..kept().conversation.unwrap()
        }),
        ..by_hand()
    };
    let error = bench.refused(expecting(1), "k").await;
    assert_fault(&error, Code::DataLoss, "HISTORY_REGRESSED");
    assert_eq!(detail(&error, "last_turn"), "0");
    for (name, key) in [("conversations/other", "k"), (NAME, "someone else")] {
        let error = bench.refused(of(name), key).await;
        assert_fault(&error, Code::NotFound, "CONVERSATION_NOT_FOUND");
    }
    let with_media = pb::HistoryPolicy {
        media: pb::HistoryMedia::All.into(),
        max_turns: Some(-1),
        ..pb::HistoryPolicy::default()
    };
    for setup in [of("c"), expecting(-1), limited(with_media)] {
        let error = bench.refused(setup, "k").await;
        assert_fault(&error, Code::InvalidArgument, "INVALID_REQUEST");
        assert!(error.message().contains("setup.conversation."), "{error:?}");
    }
    let mut live = bench.open(expecting(0)).await;
    let resume = pb::LiveSetup {
        conversation: kept().conversation,
        ..crate::support::live_call::resumption(&live.started, 1)
    };
    let error = bench.refused(resume, "k").await;
    assert!(error.message().contains("setup.conversation"), "{error:?}");
    assert_eq!(live.exchange("a").await.turn, Some(1));
    let error = bench.refused(expecting(0), "k").await;
    assert_fault(&error, Code::Aborted, "STALE_CONVERSATION");
    assert_eq!(detail(&error, "last_turn"), "1");
    // A model without text items.
    let recognizer = pb::LiveSetup {
        model: "qwen3-asr-flash-realtime".to_owned(),
        ..kept()
    };
    let opening = LiveCall::open_as(&bench.gateway, recognizer, "k");
    let (call, _socket) = tokio::join!(opening, bench.upstream.session());
    let error = match call {
        Ok(mut call) => call.status().await,
        Err(error) => error,
    };
    assert_fault(&error, Code::InvalidArgument, "INVALID_REQUEST");
}
