//! The rows of the store: what a stored turn costs more than the same call without a store, what
//! the length of a conversation costs, and how exactly replicas keep a common limit.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dashgate::grpc::pb;
use hdrhistogram::Histogram;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, Value, lines};
use crate::calls;
use crate::client::{Ask, CONVERSE, Line};
use crate::error::Result;
use crate::load::{Caller, Clock, Measured, closed};
use crate::messages::stored_turn;
use crate::postgres::{self, Postgres};
use crate::row::StoreRow;
use crate::subject::{Subject, Variant};

const CREATE: &str = "/dashgate.v1.ConversationService/CreateConversation";
const GET: &str = "/dashgate.v1.ConversationService/GetConversation";
const LIST: &str = "/dashgate.v1.ConversationService/ListTurns";

/// The allowed calls of the row `quota`, per minute.
const LIMIT: u32 = 6000;

/// The calls of the row `quota`, per second.
const OFFERED: f64 = 1000.0;

/// gRPC's RESOURCE_EXHAUSTED: a call above a limit.
const EXHAUSTED: u32 = 8;

/// Measures a row once.
pub(crate) async fn measure(row: StoreRow, bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    match row {
        StoreRow::Sqlite => one_by_one(bench, variant, Engine::Sqlite).await,
        StoreRow::SqliteTurns => saturated(bench, variant, Engine::Sqlite).await,
        StoreRow::Postgres => one_by_one(bench, variant, Engine::Postgres).await,
        StoreRow::PostgresTurns => saturated(bench, variant, Engine::Postgres).await,
        StoreRow::LongConversation => long(bench, variant).await,
        StoreRow::Quota => quota(bench, variant).await,
    }
}

/// Where turns are stored.
#[derive(Clone, Copy)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// The setting of an empty store.
    fn setting(self, bench: &Bench) -> Result<String> {
        match self {
            Self::Sqlite => {
                let file = bench.starter.folder.join("stored.db");
                for suffix in ["", "-wal", "-shm"] {
                    let mut file = file.clone().into_os_string();
                    file.push(suffix);
                    match std::fs::remove_file(file) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(error.into());
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
                Ok(format!("store.url=sqlite:{}", file.display()))
            }
            // With its own defaults: it writes to the disk before it answers.
            Self::Postgres => {
                static SERVER: OnceLock<Postgres> = OnceLock::new();
                let server = SERVER.get_or_init(|| Postgres::start(""));
                Ok(format!("store.url={}", server.database()))
            }
        }
    }
}

/// Turns one after the other.
async fn one_by_one(bench: &Bench, variant: Variant, engine: Engine) -> Result<Vec<Value>> {
    let measured = turns(bench, variant, engine, 1, 1).await?;
    let mut values = calls::cpu("CPU of a turn", &measured);
    values.push(Value::new("latency p50", "us", measured.quantile(0.5)));
    values.push(Value::new("latency p99", "us", measured.quantile(0.99)));
    Ok(values)
}

/// As many turns as it can answer.
async fn saturated(bench: &Bench, variant: Variant, engine: Engine) -> Result<Vec<Value>> {
    let measured = turns(bench, variant, engine, 4, 64).await?;
    let mut values = calls::cpu("CPU of a turn", &measured);
    values.push(Value::new("turns", "/s", measured.rate()));
    values.push(Value::new("latency p50", "us", measured.quantile(0.5)));
    values.push(Value::new("latency p99", "us", measured.quantile(0.99)));
    Ok(values)
}

/// Starts dashgate: with a store if it is the variant, not the reference.
async fn start(bench: &Bench, variant: Variant, engine: Engine) -> Result<Subject> {
    if variant.is_dashgate() {
        return bench.start(variant, &[&engine.setting(bench)?]).await;
    }
    bench.start(Variant::Dashgate, &[]).await
}

async fn turns(
    bench: &Bench,
    variant: Variant,
    engine: Engine,
    connections: usize,
    in_flight: usize,
) -> Result<Measured> {
    let subject = start(bench, variant, engine).await?;
    let lines = lines(&subject, connections).await?;
    let mut asks = Vec::with_capacity(in_flight);
    for number in 0..in_flight {
        let name = if variant.is_dashgate() {
            let line = lines.first().ok_or("no connection")?;
            Some(create(&subject, line, number).await?)
        } else {
            None
        };
        asks.push(call_of(
            &subject,
            CONVERSE,
            &stored_turn(name.as_deref(), 0),
        )?);
    }
    let (shared, window) = (&bench.shared, bench.window());
    let caller = Caller::Each(lines, asks);
    closed(&subject, shared, caller, in_flight, Duration::ZERO, window).await
}

/// Creates a conversation; returns its name.
async fn create(subject: &Subject, line: &Line, number: usize) -> Result<String> {
    let request = pb::CreateConversationRequest {
        conversation_id: format!("bench-{number}"),
        ..Default::default()
    };
    line.call(&call_of(subject, CREATE, &request.encode_to_vec())?, None)
        .await?
        .check()?;
    Ok(format!("conversations/{}", request.conversation_id))
}

fn call_of(subject: &Subject, path: &str, message: &[u8]) -> Result<Ask> {
    Ask::new(
        subject.address,
        path,
        subject.key.as_deref(),
        "60S",
        message,
    )
}

/// A long conversation, and one of usual length.
async fn long(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let turns = match (variant.is_dashgate(), bench.options.quick) {
        (false, _) => 100,
        (true, true) => 200,
        (true, false) => 10_000,
    };
    let mut engines = vec![Engine::Sqlite];
    engines.extend(postgres::installed().map(|_| Engine::Postgres));
    let mut values = Vec::new();
    for engine in engines {
        let subject = start(bench, Variant::Dashgate, engine).await?;
        let line = Line::connect(subject.address).await?;
        let name = create(&subject, &line, 0).await?;
        let next = call_of(&subject, CONVERSE, &stored_turn(Some(&name), 0))?;
        for _ in 0..turns {
            line.call(&next, None).await?.check()?;
        }
        let get = pb::GetConversationRequest { name: name.clone() }.encode_to_vec();
        let list = pb::ListTurnsRequest {
            name: name.clone(),
            ..Default::default()
        };
        let open = [
            call_of(&subject, GET, &get)?,
            call_of(&subject, LIST, &list.encode_to_vec())?,
        ];
        let next = [call_of(&subject, CONVERSE, &stored_turn(Some(&name), 100))?];
        for (what, asks) in [
            ("to open it: its state and first 20 turns", &open[..]),
            ("a turn with a history of 100", &next[..]),
        ] {
            let p50 = median(&line, asks, if bench.options.quick { 10 } else { 200 }).await?;
            values.push(Value::new(format!("{what}, {}", engine.name()), "us", p50));
        }
    }
    Ok(values)
}

/// The median time of these calls, one after the other, in microseconds.
async fn median(line: &Line, asks: &[Ask], times: u32) -> Result<f64> {
    let mut latency = Histogram::<u64>::new(3)?;
    for _ in 0..times {
        let begun = Instant::now();
        for ask in asks {
            line.call(ask, None).await?.check()?;
        }
        latency.record(u64::try_from(begun.elapsed().as_nanos())?)?;
    }
    Ok(latency.value_at_quantile(0.5) as f64 / 1e3)
}

/// What became of calls with a limit.
#[derive(Default)]
struct Tally {
    accepted: Cell<u64>,
    refused: Cell<u64>,
    fault: Cell<Option<String>>,
}

/// More calls than a limit allows, at three replicas in turn.
async fn quota(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let store = Engine::Postgres.setting(bench)?;
    let limit = format!("caller_limits.requests_per_minute={LIMIT}");
    let (mut replicas, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let replica = bench.start(variant, &[&store, &limit]).await?;
        let line = Line::connect(replica.address).await?;
        calls.push(Rc::new((
            line,
            call_of(&replica, CONVERSE, &stored_turn(None, 0))?,
        )));
        replicas.push(replica);
    }
    // Each has made one call, and replicas learn of each other. The limit is full again then.
    let tally = Rc::new(Tally::default());
    sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let length = bench.options.length.mul_f64(10.0);
    let clock = Clock::start(OFFERED)?;
    let (stop, mut due) = (clock.stop, clock.due);
    let (mut running, end, mut turn) = (JoinSet::new(), Instant::now() + length, 0_usize);
    while let Some(at) = due.recv().await {
        if at >= end {
            break;
        }
        let call = calls.get(turn % calls.len()).ok_or("no replica")?;
        running.spawn_local(one(Rc::clone(call), Rc::clone(&tally)));
        turn += 1;
        while running.try_join_next().is_some() {}
    }
    stop.store(true, Relaxed);
    running.join_all().await;
    if let Some(fault) = tally.fault.take() {
        return Err(fault.into());
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let (accepted, limit) = (tally.accepted.get() as f64, f64::from(LIMIT));
    let mut values = vec![
        Value::new("accepted", "", accepted),
        Value::new("refused", "", tally.refused.get() as f64),
    ];
    if tally.refused.get() > 0 {
        // The limit is a bucket of a minute, full at the start; it is refilled from then on.
        let allowed = limit * (1.0 + minutes);
        let error = (accepted - allowed) / allowed * 100.0;
        values.push(Value::new("accepted above the limit", "%", error));
    }
    Ok(values)
}

async fn one(call: Rc<(Line, Ask)>, tally: Rc<Tally>) {
    let (line, ask) = &*call;
    match line.call(ask, None).await {
        Ok(answer) if answer.code == 0 => tally.accepted.set(tally.accepted.get() + 1),
        Ok(answer) if answer.code == EXHAUSTED => tally.refused.set(tally.refused.get() + 1),
        Ok(answer) => tally
            .fault
            .set(answer.check().err().map(|fault| fault.to_string())),
        Err(fault) => tally.fault.set(Some(fault.to_string())),
    }
}
