//! Memory is shared fairly: what one caller holds is no reason to refuse another, to end its calls,
//! or to forget its answers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dashgate::config::Settings;
use dashgate::grpc::pb::{self, content};
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::{Code, Request, Response, Status};

use super::memory::{CONVERSE, Client, MIB, framed, gzip};
use crate::support::http2_peer::*;
use crate::support::keys::Folder;
use crate::support::*;

/// A gateway with two callers, and the memory of a small container.
struct Shared {
    upstream: Upstream,
    gateway: Running,
    hostile: String,
    other: String,
    _folder: Folder,
}

impl Shared {
    async fn start(upstream: Upstream, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = Folder::new();
        let (_, hostile) = folder.key("hostile", |_| ());
        let (_, other) = folder.key("other", |_| ());
        let mut settings = folder.settings(&upstream);
        settings.memory.limit = 64 * MIB;
        change(&mut settings);
        let gateway = gateway_with(settings).await;
        Self {
            upstream,
            gateway,
            hostile,
            other,
            _folder: folder,
        }
    }

    /// A call of the other caller.
    async fn other(
        &self,
        message: pb::ConverseRequest,
    ) -> Result<Response<pb::ConverseResponse>, Status> {
        let mut request = Request::new(message);
        let value = format!("Bearer {}", self.other).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        self.gateway.conversation().converse(request).await
    }

    /// Small and large calls of the other caller, none of which may be refused.
    async fn other_is_answered(&self) {
        for number in 0..20 {
            let answer = self.other(ask("m", 100)).await;
            answer.unwrap_or_else(|status| panic!("small call {number}: {status:?}"));
        }
        let answer = self.other(ask("m", 4 * MIB)).await;
        answer.unwrap_or_else(|status| panic!("large call: {status:?}"));
    }
}

/// DashScope, where some models are slow and some say much.
async fn models() -> Upstream {
    Upstream::start(|_, seen| {
        let is_of = |model: &str| {
            let name = format!("\"model\":\"{model}\"");
            seen.body
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        if is_of("slow") {
            return vec![Step::Hang];
        }
        let mut steps = vec![Step::Pause(Duration::from_secs(if is_of("late") {
            4
        } else {
            0
        }))];
        let bytes = if is_of("long") { 3 * MIB } else { 10 };
        steps.extend(json(200, &whole(&"x".repeat(bytes))));
        steps
    })
    .await
}

/// A question of so many bytes.
fn ask(model: &str, bytes: usize) -> pb::ConverseRequest {
    let text = content::Kind::Text("x".repeat(bytes));
    ask_whole(conversation(model, vec![text]))
}

fn named(name: &str, model: &str) -> pb::ConverseRequest {
    pb::ConverseRequest {
        request_id: name.to_owned(),
        ..ask(model, 10)
    }
}

/// Sends this body in a call of this key, and reads the answer.
async fn send(client: Client, to: SocketAddr, key: String, encoding: &str, body: Body) -> Status {
    let request = http::Request::post(format!("http://{to}/{CONVERSE}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {key}"))
        .header("grpc-encoding", encoding);
    let response = client.request(request.body(body).unwrap()).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    match response.into_body().collect().await {
        Ok(body) => Status::from_header_map(body.trailers().unwrap()).unwrap(),
        Err(error) => Status::unknown(error.to_string()),
    }
}

/// Begins calls of the hostile caller until one is refused for lack of memory.
async fn fill(
    shared: &Shared,
    calls: &mut JoinSet<Status>,
    body: impl Fn() -> (&'static str, Body),
) {
    for _ in 0..200 {
        let (encoding, body) = body();
        let (client, to) = (shared.gateway.client.clone(), shared.gateway.address);
        calls.spawn(send(client, to, shared.hostile.clone(), encoding, body));
        let ended = tokio::time::timeout(Duration::from_millis(150), calls.join_next()).await;
        if let Ok(Some(status)) = ended {
            assert_fault(&status.unwrap(), Code::Unavailable, "OVERLOADED");
            return;
        }
    }
    panic!("the memory is not full");
}

#[tokio::test]
async fn others_are_answered_beside_a_caller_whose_small_packed_texts_fill_the_memory() {
    let shared = Shared::start(models().await, |_| ()).await;
    let mut calls = JoinSet::new();
    for bytes in [5 * MIB, 100_000] {
        let packed = framed(1, &gzip(&ask("slow", bytes).encode_to_vec()));
        let body = || {
            (
                "gzip",
                Body::new(http_body_util::Full::from(packed.clone())),
            )
        };
        fill(&shared, &mut calls, body).await;
    }
    shared.other_is_answered().await;
    assert!(!calls.is_empty());
}

#[tokio::test]
async fn others_are_answered_beside_a_caller_whose_unfinished_requests_fill_the_memory() {
    let shared = Shared::start(models().await, |_| ()).await;
    let mut calls = JoinSet::new();
    for bytes in [6 * MIB, 100_000] {
        let message = framed(0, &ask("m", bytes).encode_to_vec());
        // All but the last bytes.
        let part = Bytes::from(message).slice(..bytes);
        let body = || {
            let pieces = part.chunks(1 << 16).map(Bytes::copy_from_slice);
            let frames = pieces.map(|piece| Ok::<_, Status>(http_body::Frame::data(piece)));
            let frames: Vec<_> = frames.collect();
            let frames = tokio_stream::iter(frames).chain(tokio_stream::pending());
            ("identity", Body::new(StreamBody::new(frames)))
        };
        fill(&shared, &mut calls, body).await;
    }
    shared.other_is_answered().await;
    // Its requests had to give way to the large one.
    let ended = calls.join_next().await.unwrap().unwrap();
    assert_fault(&ended, Code::Unavailable, "OVERLOADED");
}

#[tokio::test]
async fn a_call_that_runs_is_not_ended_for_answers_that_another_caller_does_not_read() {
    let shared = Shared::start(models().await, |_| ()).await;
    let good = shared.other(ask("late", 3 * MIB));
    let hostile = async {
        shared.upstream.wait_for_requests(1).await;
        let authorization = format!("Bearer {}", shared.hostile);
        let head = block(
            &format!("/{CONVERSE}"),
            &[("authorization", &authorization)],
        );
        let message = framed(0, &ask("long", 10).encode_to_vec());
        // A window of 64 KiB that is never opened further.
        let mut raw = Raw::connect(shared.gateway.address, Manners::Answers).await;
        for stream in (1..61).step_by(2) {
            raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
            raw.send(&h2(DATA, END_STREAM, stream, &message)).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        raw
    };
    let (answer, mut raw) = tokio::join!(good, hostile);
    answer.expect("the answer that was asked for first");
    shared.other_is_answered().await;
    let (mut refused, mut reset) = (0, 0);
    while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(500), raw.next()).await {
        refused += usize::from(frame.kind == HEADERS && frame.flags & END_STREAM != 0);
        reset += usize::from(frame.kind == RST_STREAM);
    }
    println!("{refused} of 30 refused, {reset} reset");
    assert!(refused + reset > 10, "{refused} refused, {reset} reset");
}

/// The other caller asks once; the hostile one has so many answers kept; then the other asks again.
async fn keeps_its_answer(shared: &Shared, model: &str, answers: usize) {
    let mut client = shared.gateway.conversation();
    shared.other(named("order", "paid")).await.unwrap();
    for number in 0..answers {
        let mut request = Request::new(named(&format!("n-{number}"), model));
        let value = format!("Bearer {}", shared.hostile).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        client.converse(request).await.unwrap();
    }
    let again = shared.other(named("order", "paid")).await.unwrap();
    assert!(again.metadata().contains_key("idempotent-replay"));
    let paid = shared.upstream.seen();
    let paid = paid.iter().filter(|seen| seen.json()["model"] == "paid");
    assert_eq!(paid.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_kept_answer_is_not_pushed_out_by_the_many_of_another_caller() {
    let shared = Shared::start(models().await, |settings| {
        settings.idempotency.max_calls = 20;
    })
    .await;
    keeps_its_answer(&shared, "m", 50).await;
}

#[tokio::test(start_paused = true)]
async fn a_kept_answer_is_not_pushed_out_by_the_long_ones_of_another_caller() {
    // Of 64 MiB a quarter is for answers that are kept.
    let shared = Shared::start(models().await, |_| ()).await;
    keeps_its_answer(&shared, "long", 12).await;
}
