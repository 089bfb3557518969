//! Replicas that are killed at random moments, and what the callers and the store have seen of it:
//! no answer is lost, none is doubled, and no record is half written.
//!
//! `DASHGATE_TEST_KILLS` is the number of kills, and `DASHGATE_TEST_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, content, delta};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::replicas::process;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![no_answer_is_lost_or_doubled_when_replicas_are_killed]
}

/// How many kills an ordinary run has.
const KILLS: usize = 12;

/// How many calls are made at the same time, each by this many callers.
const CALLS: usize = 6;
const TWINS: usize = 2;

/// How long a caller tries.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(
    clippy::disallowed_methods,
    reason = "it belongs to the tests, not to the settings of the gateway"
)]
/// A number in the environment.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

type Replicas = Arc<Mutex<Vec<Process>>>;

/// What one caller received for one call.
struct Reported {
    call: usize,
    answer: String,
}

fn ask(call: usize) -> (pb::Conversation, String) {
    let text = content::Kind::Text(format!("call {call}"));
    (
        conversation("qwen-audio-turbo", vec![text]),
        format!("call-{call}"),
    )
}

async fn whole_answer(
    client: &mut ConversationServiceClient<Client>,
    call: usize,
) -> Result<String, Status> {
    let (conversation, request_id) = ask(call);
    let request = pb::ConverseRequest {
        request_id,
        ..ask_whole(conversation)
    };
    let answer = client.converse(request).await?.into_inner();
    let message = answer.choices[0].message.as_ref().unwrap();
    match message.content[0].kind.clone().unwrap() {
        content::Kind::Text(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

async fn streamed_answer(
    client: &mut ConversationServiceClient<Client>,
    call: usize,
) -> Result<String, Status> {
    let (conversation, request_id) = ask(call);
    let request = pb::ConverseStreamRequest {
        request_id,
        ..ask_stream(conversation)
    };
    let mut stream = client.converse_stream(request).await?.into_inner();
    let mut text = String::new();
    while let Some(message) = stream.next().await {
        match message?.event {
            Some(Event::Delta(delta)) => match delta.part {
                Some(delta::Part::Text(piece)) => text.push_str(&piece),
                other => panic!("{other:?}"),
            },
            Some(Event::Completed(_)) => return Ok(text),
            Some(Event::Started(_) | Event::Heartbeat(_)) | None => {}
        }
    }
    panic!("a stream has neither an end nor an error")
}

/// Calls until it has an answer, at any replica, as a client with retries does.
async fn call(replicas: Replicas, call: usize, mut random: fastrand::Rng) -> Reported {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut client = {
            let replicas = replicas.lock().unwrap();
            let replica = &replicas[random.usize(..replicas.len())];
            ConversationServiceClient::with_origin(replica.client(), replica.origin())
        };
        // Whether it streams depends on the call: the two have different fingerprints.
        let answer = match call % 2 {
            0 => whole_answer(&mut client, call).await,
            _ => streamed_answer(&mut client, call).await,
        };
        let status = match answer {
            Ok(answer) => return Reported { call, answer },
            Err(status) => status,
        };
        let reason = status.get_details_error_info().map(|info| info.reason);
        let expected = match reason.as_deref() {
            // The connection broke: it is no status of the gateway.
            None => true,
            Some("OWNER_LOST") => status.code() == Code::Internal,
            // On a machine that is busy, no connection may be free in time.
            Some("STORE_DOWN") => status.code() == Code::Unavailable,
            Some(_) => false,
        };
        assert!(expected, "call {call}: {status:?}");
        assert!(
            Instant::now() < until,
            "call {call} has no answer: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A DashScope whose answers differ in a number, and take a while.
async fn numbering(seed: u64) -> Upstream {
    let mut random = fastrand::Rng::with_seed(seed);
    Upstream::start(move |number, seen| {
        let pause = Step::Pause(Duration::from_millis(random.u64(..60)));
        let streamed = seen.header("x-dashscope-sse") == Some("enable");
        match streamed {
            false => {
                let mut steps = vec![pause];
                steps.extend(json(200, &whole(&format!("answer {number}"))));
                steps
            }
            true => vec![
                sse(),
                piece(frame(1, "answer ", "null")),
                pause,
                piece(frame(2, &number.to_string(), "stop")),
                end(),
            ],
        }
    })
    .await
}

async fn no_answer_is_lost_or_doubled_when_replicas_are_killed(store: StoreSettings) {
    let seed = number("DASHGATE_TEST_SEED", fastrand::usize(..1 << 30));
    let kills = number("DASHGATE_TEST_KILLS", KILLS);
    println!("DASHGATE_TEST_SEED={seed} DASHGATE_TEST_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let upstream = Arc::new(numbering(random.u64(..)).await);
    let start = |replicas: &mut Vec<Process>| replicas.push(process(&upstream, &store));
    let replicas = Replicas::default();
    (0..3).for_each(|_| start(&mut replicas.lock().unwrap()));

    let (over, next) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers = (0..CALLS).map(|_| {
        let (replicas, over, next) = (Arc::clone(&replicas), Arc::clone(&over), Arc::clone(&next));
        let mut random = random.fork();
        tokio::spawn(async move {
            let mut received = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let twins = (0..TWINS).map(|_| {
                    let caller = call(Arc::clone(&replicas), number, random.fork());
                    tokio::spawn(caller)
                });
                for twin in twins.collect::<Vec<_>>() {
                    received.push(twin.await.unwrap());
                }
            }
            received
        })
    });
    let callers: Vec<_> = callers.collect();
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
        // Dropping it kills it.
        drop(replicas.lock().unwrap().remove(0));
        let (upstream, store, replicas) =
            (Arc::clone(&upstream), store.clone(), Arc::clone(&replicas));
        tokio::task::spawn_blocking(move || {
            let started = process(&upstream, &store);
            replicas.lock().unwrap().push(started);
        })
        .await
        .unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let mut received = Vec::new();
    for caller in callers {
        received.extend(caller.await.unwrap());
    }
    check(&received, &upstream, next.load(Ordering::Relaxed));
}

/// Compares what callers have received with what DashScope was asked.
fn check(received: &[Reported], upstream: &Upstream, calls: usize) {
    let mut asked: HashMap<usize, Vec<usize>> = HashMap::new();
    for (number, seen) in upstream.seen().iter().enumerate() {
        let body = seen.json().to_string();
        let call = body.split("\"call ").nth(1).unwrap().split('"').next();
        asked
            .entry(call.unwrap().parse().unwrap())
            .or_default()
            .push(number);
    }
    let mut answers: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for one in received {
        answers.entry(one.call).or_default().insert(&one.answer);
    }
    assert_eq!(answers.len(), calls, "every call has an answer");
    let mut again = 0;
    for (call, answers) in &answers {
        assert_eq!(answers.len(), 1, "call {call} has one answer: {answers:?}");
        let number = answers.first().unwrap().strip_prefix("answer ").unwrap();
        let number: usize = number.parse().unwrap();
        let asked = &asked[call];
        assert_eq!(
            asked.last(),
            Some(&number),
            "call {call}: nothing ran after its answer"
        );
        again += asked.len() - 1;
    }
    println!("{calls} calls, {again} made again after a kill");
}
