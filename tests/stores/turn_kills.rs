//! Replicas that are killed at random moments while callers continue conversations: every turn that
//! a caller has received is there once, with its answer, and each was made with the history of all
//! turns before it.
//!
//! `DASHGATE_TEST_KILLS` is the number of kills, and `DASHGATE_TEST_SEED` repeats a run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use tokio::time::Instant;
use tonic::Status;
use tonic_types::StatusExt;

use crate::kept::*;
use crate::kills::number;
use crate::replicas::{process, replica};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![no_turn_is_lost_or_doubled_when_replicas_are_killed]
}

/// How many kills an ordinary run has.
const KILLS: usize = 8;

/// How many conversations there are, and how many callers continue each at the same time.
const CONVERSATIONS: usize = 2;
const CALLERS: usize = 2;

/// How long a caller tries.
const PATIENCE: Duration = Duration::from_secs(60);

type Replicas = Arc<Mutex<Vec<Process>>>;

/// A client of any replica.
fn any(replicas: &Replicas, random: &mut fastrand::Rng) -> Conversations {
    let replicas = replicas.lock().unwrap();
    let replica = &replicas[random.usize(..replicas.len())];
    Conversations::with_origin(replica.client(), replica.origin())
}

/// Whether a client with retries goes on.
fn is_expected(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match reason.as_deref() {
        // The connection broke: it is no status of the gateway.
        None => true,
        // STORE_DOWN: on a machine that is busy, no connection may be free in time.
        Some("OWNER_LOST" | "CONVERSATION_BUSY" | "STORE_DOWN") => true,
        Some(_) => false,
    }
}

/// Makes one turn, at whatever replica, and returns its answer.
async fn turn(
    replicas: &Replicas,
    (conversation, request_id): (&str, &str),
    random: &mut fastrand::Rng,
) -> pb::ConverseResponse {
    let until = Instant::now() + PATIENCE;
    let mut request = say_once(request_id, request_id);
    request.conversation.as_mut().unwrap().name = conversation.to_owned();
    loop {
        let mut client = any(replicas, random);
        let status = match client.converse(mine(request.clone())).await {
            Ok(answer) => return answer.into_inner(),
            Err(status) => status,
        };
        assert!(is_expected(&status), "{request_id}: {status:?}");
        assert!(Instant::now() < until, "{request_id}: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn no_turn_is_lost_or_doubled_when_replicas_are_killed(store: StoreSettings) {
    let seed = number("DASHGATE_TEST_SEED", fastrand::usize(..1 << 30));
    let kills = number("DASHGATE_TEST_KILLS", KILLS);
    println!("DASHGATE_TEST_SEED={seed} DASHGATE_TEST_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let upstream = Arc::new(numbering(Duration::from_millis(30)).await);
    let replicas = Replicas::default();
    for _ in 0..3 {
        let started = process(&upstream, &store);
        replicas.lock().unwrap().push(started);
    }
    let names: Vec<_> = (0..CONVERSATIONS).map(|at| format!("c{at}")).collect();
    for name in &names {
        create_as(&mut any(&replicas, &mut random), name, "k").await;
    }
    let (over, next) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut callers = Vec::new();
    for name in names.iter().cycle().take(CONVERSATIONS * CALLERS) {
        let name = format!("conversations/{name}");
        let (replicas, over, next) = (Arc::clone(&replicas), Arc::clone(&over), Arc::clone(&next));
        let mut random = random.fork();
        callers.push(tokio::spawn(async move {
            let mut received = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let id = format!("turn-{}", next.fetch_add(1, Ordering::Relaxed));
                let answer = turn(&replicas, (&name, &id), &mut random).await;
                received.push((name.clone(), id, text(&answer)));
            }
            received
        }));
    }
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.u64(20..300))).await;
        // Dropping it kills it.
        drop(replicas.lock().unwrap().remove(0));
        let (upstream, store) = (Arc::clone(&upstream), store.clone());
        let started = tokio::task::spawn_blocking(move || process(&upstream, &store));
        let started = started.await.unwrap();
        replicas.lock().unwrap().push(started);
    }
    over.store(true, Ordering::Relaxed);
    let mut received = Vec::new();
    for caller in callers {
        received.extend(caller.await.unwrap());
    }
    let reader = replica(&upstream, &store).await;
    check(&mut reader.conversation(), &received, &upstream).await;
}

/// All turns of a conversation.
async fn stored(client: &mut Conversations, name: &str) -> Vec<pb::Turn> {
    let (mut turns, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListTurnsRequest {
            name: name.to_owned(),
            page_size: 100,
            page_token,
            ..pb::ListTurnsRequest::default()
        };
        let page = client.list_turns(mine(request)).await.unwrap().into_inner();
        turns.extend(page.turns);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return turns;
        }
    }
}

/// Compares what is stored with what callers have received and what DashScope was asked.
async fn check(
    client: &mut Conversations,
    received: &[(String, String, String)],
    upstream: &Upstream,
) {
    let seen = upstream.seen();
    let mut found: HashMap<String, (String, String)> = HashMap::new();
    for at in 0..CONVERSATIONS {
        let name = format!("conversations/c{at}");
        let mut history = Vec::new();
        for turn in stored(client, &name).await {
            if turn.state() != pb::TurnState::Complete {
                continue;
            }
            let answer = text_of(turn.answer.as_ref().unwrap());
            let request: usize = answer.strip_prefix("answer ").unwrap().parse().unwrap();
            history.push(text_of(&turn.messages[0]));
            let sent: Vec<_> = messages(&seen[request])
                .into_iter()
                .map(|(_, t)| t)
                .collect();
            let latest = history.len().saturating_sub(201);
            assert_eq!(sent, history[latest..], "{name}: {}", turn.number);
            history.push(answer.clone());
            let before = found.insert(turn.request_id.clone(), (name.clone(), answer));
            assert_eq!(before, None, "{} has two turns", turn.request_id);
        }
    }
    for (name, id, answer) in received {
        assert_eq!(
            found.remove(id),
            Some((name.clone(), answer.clone())),
            "{id}"
        );
    }
    assert!(
        found.is_empty(),
        "turns that no caller has received: {found:?}"
    );
    println!("{} turns, {} requests", received.len(), seen.len());
}
