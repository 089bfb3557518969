//! What callers make the gateway hold is bounded, all together: the real process lives under a
//! limit of the system, and other calls are answered.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::Code;

use super::memory::{CONVERSE, Client, MIB, empty_parts, framed, gzip, long_text, post};
use crate::support::http2_peer::*;
use crate::support::*;

/// Below this a debug build under a test stays for small traffic.
const SMALL: usize = 24 * MIB;

fn caller(process: &Process) -> ConversationServiceClient<Client> {
    ConversationServiceClient::with_origin(process.client(), process.origin())
        .max_decoding_message_size(64 * MIB)
}

/// A call of somebody else is answered, at the latest when what the others sent has been refused.
async fn somebody_is_answered(process: &Process) {
    let mut last = None;
    for _ in 0..100 {
        match caller(process).converse(ask_whole(question())).await {
            Ok(_) => return,
            Err(status) => last = Some(status),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody is answered: {last:?}");
}

#[tokio::test]
async fn a_bomb_of_elements_costs_next_to_nothing() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let process = Process::start(upstream.address, &[], "");
    somebody_is_answered(&process).await;
    let before = process.peak();
    let body = framed(1, &gzip(&empty_parts()));
    assert!(body.len() < 20_000);
    for _ in 0..4 {
        let status = post(&process.client(), process.address, "gzip", body.clone()).await;
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
    }
    let grown = process.peak() - before;
    assert!(grown < SMALL, "{grown} bytes");
}

#[tokio::test]
async fn lengths_that_are_claimed_reserve_nothing() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut process = Process::start(
        upstream.address,
        // 16 GiB are claimed, in a process that has half of that.
        &[("server.max_in_flight", "2048")],
        "ulimit -v 8388608",
    );
    somebody_is_answered(&process).await;
    let before = process.peak();
    let head = block(&format!("/{CONVERSE}"), &[]);
    let mut raws = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(process.address, Manners::Answers).await;
        for stream in (1..200).step_by(2) {
            raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
            // 16 MiB, of which one byte comes.
            raw.send(&h2(DATA, 0, stream, &[0, 1, 0, 0, 0, 7])).await;
        }
        raws.push(raw);
    }
    somebody_is_answered(&process).await;
    assert!(process.is_alive());
    let grown = process.peak() - before;
    assert!(grown < 64 * MIB, "{grown} bytes for 1000 claims");
}

#[tokio::test]
async fn packed_texts_are_unpacked_within_the_limit() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let limit = [("memory.limit", "128MiB")];
    let mut process = Process::start(upstream.address, &limit, "");
    somebody_is_answered(&process).await;
    let before = process.peak();
    let body = framed(1, &gzip(&long_text(5 * MIB)));
    assert!(body.len() < 20_000);
    let mut calls = JoinSet::new();
    for _ in 0..60 {
        let (client, to, body) = (process.client(), process.address, body.clone());
        calls.spawn(async move { post(&client, to, "gzip", body).await });
    }
    let mut answered = 0;
    while let Some(status) = calls.join_next().await {
        let status = status.unwrap();
        match status.code() {
            Code::Ok => answered += 1,
            _ => assert_fault(&status, Code::Unavailable, "OVERLOADED"),
        }
    }
    assert!(answered > 0);
    let grown = process.peak() - before;
    // The limit is half of what the process may take.
    assert!(grown < 256 * MIB, "{grown} bytes");
    somebody_is_answered(&process).await;
    assert!(process.is_alive());
}

/// An answer whose `output` has an object of about so many bytes that no field covers.
fn bulky(kind: usize, bytes: usize) -> String {
    let text = "x".repeat(bytes);
    let (in_message, in_output, in_usage) = match kind % 4 {
        0 => (
            String::new(),
            format!(",\"task\":{{\"k\":\"{text}\"}}"),
            String::new(),
        ),
        1 => (String::new(), String::new(), format!(",\"k\":\"{text}\"")),
        2 => (
            String::new(),
            format!(
                ",\"search_info\":{{\"search_results\":[{{\"index\":1,\"title\":\"{text}\"}}]}}"
            ),
            String::new(),
        ),
        _ => (
            format!(",\"ocr_result\":{{\"k\":\"{text}\"}}"),
            String::new(),
            String::new(),
        ),
    };
    let message =
        format!("{{\"role\":\"assistant\",\"content\":[{{\"text\":\"x\"{in_message}}}]}}");
    format!(
        "{{\"output\":{{\"choices\":[{{\"finish_reason\":\"stop\",\"message\":{message}}}]\
         {in_output}}},\"usage\":{{\"input_tokens\":1{in_usage}}},\"request_id\":\"up\"}}"
    )
}

fn named(name: String) -> pb::ConverseRequest {
    pb::ConverseRequest {
        request_id: name,
        ..ask_whole(question())
    }
}

#[tokio::test]
async fn kept_answers_are_weighed_by_what_they_hold() {
    let upstream = Upstream::start(|number, _| json(200, &bulky(number, MIB))).await;
    let settings = [("idempotency.max_bytes", "16MiB")];
    let process = Process::start(upstream.address, &settings, "");
    let mut client = caller(&process);
    client.converse(named("first".to_owned())).await.unwrap();
    let before = process.peak();
    for number in 0..120 {
        client.converse(named(format!("n-{number}"))).await.unwrap();
    }
    let grown = process.peak() - before;
    assert!(grown < 64 * MIB, "{grown} bytes where 16 MiB are promised");
    assert!(upstream.seen().len() >= 121);
    let again = client.converse(named("n-119".to_owned())).await.unwrap();
    assert!(again.metadata().contains_key("idempotent-replay"));
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_all_together() {
    let answer = whole(&"x".repeat(7 * MIB));
    let upstream = Upstream::always(json(200, &answer)).await;
    let limit = [("memory.limit", "128MiB"), ("server.max_in_flight", "2048")];
    let mut process = Process::start(upstream.address, &limit, "");
    let mut client = caller(&process);
    client.converse(named("seven".to_owned())).await.unwrap();
    let before = process.peak();
    let message = framed(0, &named("seven".to_owned()).encode_to_vec());
    let head = block(&format!("/{CONVERSE}"), &[]);
    let mut raws = Vec::new();
    for _ in 0..3 {
        // Windows of 64 KiB that are never opened further.
        let mut raw = Raw::connect(process.address, Manners::Answers).await;
        for stream in (1..200).step_by(2) {
            raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
            raw.send(&h2(DATA, END_STREAM, stream, &message)).await;
        }
        raws.push(raw);
    }
    let mut refused = 0;
    for raw in &mut raws {
        raw.send(&h2(PING, 0, 0, &[7; 8])).await;
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_secs(2), raw.next()).await {
            let is_refused = frame.kind == HEADERS && frame.flags & END_STREAM != 0;
            // What was admitted and lies unread gives way when memory is short.
            refused += usize::from(is_refused || frame.kind == RST_STREAM);
        }
    }
    let grown = process.peak() - before;
    println!(
        "{refused} of 300 refused or reset, {} MiB more at the peak",
        grown / MIB
    );
    assert!(refused > 200, "{refused} of 300 refused");
    assert!(grown < 256 * MIB, "{grown} bytes for 300 answers of 7 MiB");
    assert!(process.is_alive());
    drop(raws);
    somebody_is_answered(&process).await;
}

/// One round of everything above at the same time.
async fn worst_mix(process: &Process, round: usize) {
    let mut calls = JoinSet::new();
    let texts = framed(1, &gzip(&long_text(12 * MIB)));
    let parts = framed(1, &gzip(&empty_parts()));
    for number in 0..24 {
        let (client, to) = (process.client(), process.address);
        let body = match number % 3 {
            0 => texts.clone(),
            1 => framed(0, &long_text(4 * MIB)),
            _ => parts.clone(),
        };
        let encoding = if number % 3 == 1 { "identity" } else { "gzip" };
        calls.spawn(async move { drop(post(&client, to, encoding, body).await) });
    }
    for number in 0..24 {
        let mut client = caller(process);
        let request = named(format!("{round}-{}", number % 6));
        calls.spawn(async move { drop(client.converse(request).await) });
    }
    let mut raws = Vec::new();
    for path in [
        format!("/{CONVERSE}"),
        "/grpc.health.v1.Health/Check".to_owned(),
    ] {
        let mut raw = Raw::connect(process.address, Manners::Answers).await;
        let head = block(&path, &[]);
        for stream in (1..200).step_by(2) {
            raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
            raw.send(&h2(DATA, 0, stream, &[0, 0, 0, 15, 255, 7])).await;
        }
        raws.push(raw);
    }
    while calls.join_next().await.is_some() {}
}

/// The worst mix under a limit of address space, for so long. The limit of the ledger is a quarter
/// of it: threads, arenas of the allocator and the program itself are address space too.
async fn worst_mix_for(span: Duration) {
    let upstream = Upstream::start(|number, _| json(200, &bulky(number, 3 * MIB))).await;
    let limit = [("memory.limit", "256MiB")];
    let mut process = Process::start(upstream.address, &limit, "ulimit -v 4194304");
    let began = tokio::time::Instant::now();
    let mut round = 0;
    while began.elapsed() < span || round == 0 {
        worst_mix(&process, round).await;
        assert!(process.is_alive(), "ended in round {round}");
        round += 1;
    }
    somebody_is_answered(&process).await;
    let peak = process.peak();
    println!("{round} rounds of the worst mix, peak {} MiB", peak / MIB);
    assert!(peak < 640 * MIB, "{peak} bytes");
}

#[tokio::test]
async fn the_worst_mix_does_not_end_a_process_under_a_limit() {
    worst_mix_for(Duration::from_secs(5)).await;
}

/// The same for minutes: `cargo test --release --test attack the_worst_mix -- --ignored`.
#[tokio::test]
#[ignore = "it takes five minutes"]
async fn the_worst_mix_does_not_end_a_process_for_minutes() {
    worst_mix_for(Duration::from_secs(300)).await;
}
