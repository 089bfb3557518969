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
use tokio::task::JoinHandle;
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
        // The store was away for longer than the gateway waits.
        Some("ANSWER_NOT_SAVED") => true,
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

/// A turn that a caller has received: its conversation, its request id and its answer.
type Received = (String, String, String);

/// Callers who continue conversations at three replicas.
pub struct Callers {
    upstream: Arc<Upstream>,
    store: StoreSettings,
    pub replicas: Replicas,
    over: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Vec<Received>>>,
}

impl Callers {
    pub async fn start(store: &StoreSettings, random: &mut fastrand::Rng) -> Self {
        let upstream = Arc::new(numbering(Duration::from_millis(30)).await);
        let started = (0..3).map(|_| process(&upstream, store)).collect();
        let mut callers = Self {
            upstream,
            store: store.clone(),
            replicas: Arc::new(Mutex::new(started)),
            over: Arc::default(),
            received: Arc::default(),
            callers: Vec::new(),
        };
        let names: Vec<_> = (0..CONVERSATIONS).map(|at| format!("c{at}")).collect();
        for name in &names {
            create_as(&mut any(&callers.replicas, random), name, "k").await;
        }
        let next = Arc::<AtomicUsize>::default();
        for name in names.iter().cycle().take(CONVERSATIONS * CALLERS) {
            callers.add(format!("conversations/{name}"), &next, random.fork());
        }
        callers
    }

    fn add(&mut self, name: String, next: &Arc<AtomicUsize>, mut random: fastrand::Rng) {
        let (replicas, over) = (Arc::clone(&self.replicas), Arc::clone(&self.over));
        let (count, next) = (Arc::clone(&self.received), Arc::clone(next));
        self.callers.push(tokio::spawn(async move {
            let mut received = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let id = format!("turn-{}", next.fetch_add(1, Ordering::Relaxed));
                let answer = turn(&replicas, (&name, &id), &mut random).await;
                count.fetch_add(1, Ordering::Relaxed);
                received.push((name.clone(), id, text(&answer)));
            }
            received
        }));
    }

    /// How many turns the callers have received.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Kills the oldest replica, and starts another.
    async fn replace_a_replica(&self) {
        // Dropping it kills it.
        drop(self.replicas.lock().unwrap().remove(0));
        let (upstream, store) = (Arc::clone(&self.upstream), self.store.clone());
        let started = tokio::task::spawn_blocking(move || process(&upstream, &store));
        let started = started.await.unwrap();
        self.replicas.lock().unwrap().push(started);
    }

    /// Lets the callers end, and compares what they have with what is stored.
    pub async fn check(self) {
        self.over.store(true, Ordering::Relaxed);
        let mut received = Vec::new();
        for caller in self.callers {
            received.extend(caller.await.unwrap());
        }
        let reader = replica(&self.upstream, &self.store).await;
        check(&mut reader.conversation(), &received, &self.upstream).await;
    }
}

async fn no_turn_is_lost_or_doubled_when_replicas_are_killed(store: StoreSettings) {
    let seed = number("DASHGATE_TEST_SEED", fastrand::usize(..1 << 30));
    let kills = number("DASHGATE_TEST_KILLS", KILLS);
    println!("DASHGATE_TEST_SEED={seed} DASHGATE_TEST_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let callers = Callers::start(&store, &mut random).await;
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.u64(20..300))).await;
        callers.replace_a_replica().await;
    }
    callers.check().await;
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
async fn check(client: &mut Conversations, received: &[Received], upstream: &Upstream) {
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
