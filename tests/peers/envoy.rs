//! A real Envoy, with the configurations that stand in `deploy/envoy`.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use super::Case;
use super::judge::{equal, holds};
use super::load::{Load, client, stream, stream_request, whole};
use super::mesh::Mesh;
use super::tools::Tool;

const GRPC: &str = include_str!("../../deploy/envoy/grpc.yaml");

/// How often a replica is restarted under load.
const RESTARTS: usize = 100;
/// Callers of each method meanwhile. With the model's delays that keeps both replicas busy, and
/// leaves two cores time for the checks of health.
const CALLERS: usize = 4;
/// Far longer than a replica drains for its last calls, or Envoy needs to eject it.
const STEP_LIMIT: Duration = Duration::from_secs(20);

/// Health is looked at forty times as often as in the example, so that a restart takes moments.
pub(crate) const QUICK: (&str, &str) = ("interval: 2s", "interval: 0.05s");
/// Five looks at its health, where the default has two: a busy machine is late now and then.
const QUICK_DRAIN: &str = "server.drain_delay=250ms";

/// Where nobody listens: what cannot be connected to was not asked.
const NOWHERE: &str = "http://127.0.0.1:9/api/v1";

pub(crate) const CASES: &[Case] = &[
    (
        "envoy_loses_no_call_in_100_rolling_restarts",
        Tool::Envoy,
        |envoy| run(rolling_restarts(envoy)),
    ),
    ("envoy_keeps_a_stream_that_beats", Tool::Envoy, |envoy| {
        run(heartbeats(envoy))
    }),
    (
        "envoy_replays_nothing_that_may_have_run",
        Tool::Envoy,
        |envoy| run(no_replay(envoy)),
    ),
    (
        "envoy_asks_the_other_replica_and_ejects_the_bad_one",
        Tool::Envoy,
        |envoy| run(ejection(envoy)),
    ),
    (
        "envoy_lets_a_stream_end_on_a_replica_that_goes",
        Tool::Envoy,
        |envoy| run(drain(envoy)),
    ),
    (
        "envoy_passes_a_cancel_and_a_deadline_on",
        Tool::Envoy,
        |envoy| run(cancel_and_deadline(envoy)),
    ),
];

/// Two threads: the callers go on while a test waits for a process.
pub(crate) fn run(test: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(test)
}

async fn rolling_restarts(envoy: &Path) -> Result<(), String> {
    let mesh = Mesh::start(envoy, GRPC, &[QUICK]).await?;
    let settings = [QUICK_DRAIN];
    let mut replicas = [mesh.replica(0, &settings)?, mesh.replica(1, &settings)?];
    mesh.sees(0, true).await?;
    mesh.sees(1, true).await?;

    let load = Load::start(&client(mesh.door()).await?, CALLERS);
    for number in 0..RESTARTS {
        for (at, replica) in replicas.iter_mut().enumerate() {
            if number % 2 != at {
                continue;
            }
            replica.terminate()?;
            mesh.sees(at, false).await?;
            let code = replica.ended(STEP_LIMIT)?;
            equal("the exit code", code, Some(0)).map_err(|why| why + &replica.log())?;
            *replica = mesh.replica(at, &settings)?;
            // Only when Envoy has seen it come back may the other one go.
            mesh.sees(at, true).await?;
        }
    }
    let (calls, faults) = load.end().await?;
    let counts = mesh.counts().await;
    holds(
        "no call fails",
        faults.is_empty(),
        (calls, faults.first(), counts),
    )?;
    holds("there was a load", calls > 10 * RESTARTS as u64, calls)?;
    equal("the model was asked", mesh.asked()?, calls)
}

async fn heartbeats(envoy: &Path) -> Result<(), String> {
    let idle = ("stream_idle_timeout: 60s", "stream_idle_timeout: 1s");
    let mesh = Mesh::start(envoy, GRPC, &[QUICK, idle]).await?;
    let replica = mesh.replica(0, &["server.heartbeat_after=300ms"])?;
    mesh.sees(0, true).await?;
    let mut client = client(mesh.door()).await?;
    let beats = stream(&mut client, "silent")
        .await
        .map_err(|why| why.to_string())?;
    holds("it beats in the silence", beats >= 3, beats)?;
    drop(replica);
    mesh.sees(0, false).await?;

    // Without the beats it is cut, so they are what kept it.
    let _replica = mesh.replica(0, &["server.heartbeat_after=10s"])?;
    mesh.sees(0, true).await?;
    let cut = stream(&mut client, "silent").await;
    holds("a silent stream is cut", cut.is_err(), cut)?;
    let idle = mesh
        .count("http.callers.downstream_rq_idle_timeout")
        .await?;
    equal("streams that Envoy cut for silence", idle, 1)
}

async fn no_replay(envoy: &Path) -> Result<(), String> {
    let mesh = Mesh::start(envoy, GRPC, &[QUICK]).await?;
    let once = ["retry.max_attempts=1"];
    let _replicas = [mesh.replica(0, &once)?, mesh.replica(1, &once)?];
    mesh.sees(0, true).await?;
    mesh.sees(1, true).await?;
    let mut client = client(mesh.door()).await?;
    let cases = [
        ("lost", false, Code::Internal),
        ("lost", true, Code::Internal),
        ("half", true, Code::Internal),
        ("throttled", false, Code::ResourceExhausted),
    ];
    for (number, (words, streams, code)) in (1..).zip(cases) {
        let result = if streams {
            stream(&mut client, words).await.map(|_| ())
        } else {
            whole(&mut client, words).await
        };
        let Err(status) = result else {
            return Err(format!("{words} was answered"));
        };
        equal(words, status.code(), code).map_err(|why| format!("{why}: {status:?}"))?;
        let pushback = status.metadata().get("grpc-retry-pushback-ms");
        holds("it pushes back", pushback.is_some(), &status)?;
        if code == Code::Internal {
            let pushback = pushback.and_then(|value| value.to_str().ok());
            equal("the pushback", pushback, Some("-1"))?;
        }
        equal("the model was asked", mesh.asked()?, number)?;
    }
    let retries = mesh.count("cluster.dashgate.upstream_rq_retry").await?;
    equal("Envoy's retries", retries, 0)
}

async fn ejection(envoy: &Path) -> Result<(), String> {
    let mesh = Mesh::start(envoy, GRPC, &[QUICK]).await?;
    let once = ["retry.max_attempts=1", "upstream.breaker_failures=0"];
    let _replicas = [
        mesh.replica_before(NOWHERE, 0, &once)?,
        mesh.replica(1, &once)?,
    ];
    mesh.sees(0, true).await?;
    mesh.sees(1, true).await?;
    let mut client = client(mesh.door()).await?;
    // Five failures in a row are needed, and chance chooses the replica.
    let (start, mut calls) = (Instant::now(), 0);
    while mesh
        .count("cluster.dashgate.outlier_detection.ejections_active")
        .await?
        == 0
    {
        holds("it is ejected", start.elapsed() < STEP_LIMIT, calls)?;
        let answered = whole(&mut client, "How are you?").await;
        holds(
            "it is answered",
            answered.is_ok(),
            (answered, mesh.counts().await),
        )?;
        calls += 1;
    }
    mesh.ejects(0).await?;
    let retries = mesh.count("cluster.dashgate.upstream_rq_retry").await?;
    holds("each failure was tried elsewhere", retries >= 5, retries)?;
    for _ in 0..10 {
        whole(&mut client, "How are you?")
            .await
            .map_err(|why| why.to_string())?;
        calls += 1;
    }
    let after = mesh.count("cluster.dashgate.upstream_rq_retry").await?;
    equal("the retries after that", after, retries)?;
    equal("the model was asked", mesh.asked()?, calls)
}

async fn drain(envoy: &Path) -> Result<(), String> {
    let mesh = Mesh::start(envoy, GRPC, &[QUICK]).await?;
    let mut first = mesh.replica(0, &[QUICK_DRAIN])?;
    mesh.sees(0, true).await?;
    let door = client(mesh.door()).await?;
    let mut caller = door.clone();
    let running = tokio::spawn(async move { stream(&mut caller, "silent").await });
    // It has reached the only replica that there is.
    let start = Instant::now();
    while mesh.asked()? == 0 {
        holds("it is asked", start.elapsed() < STEP_LIMIT, ())?;
        tokio::task::yield_now().await;
    }
    let _second = mesh.replica(1, &[])?;
    mesh.sees(1, true).await?;
    first.terminate()?;
    mesh.sees(0, false).await?;
    let mut caller = door.clone();
    whole(&mut caller, "How are you?")
        .await
        .map_err(|why| why.to_string())?;
    holds("the stream still runs", !running.is_finished(), ())?;
    let closing = "cluster.dashgate.upstream_cx_close_notify";
    let ended = running.await.map_err(|error| error.to_string())?;
    ended.map_err(|why| why.to_string())?;
    equal("the exit code", first.ended(STEP_LIMIT)?, Some(0))?;
    holds("it said GOAWAY", mesh.count(closing).await? > 0, ())
}

async fn cancel_and_deadline(envoy: &Path) -> Result<(), String> {
    let mesh = Mesh::start(envoy, GRPC, &[QUICK]).await?;
    let _replica = mesh.replica(0, &[])?;
    mesh.sees(0, true).await?;
    let mut client = client(mesh.door()).await?;
    let events = client.converse_stream(stream_request("silent")).await;
    drop(events.map_err(|why| why.to_string())?);
    ends_early(&mesh, 1)?;

    let mut request = stream_request("silent");
    request.set_timeout(Duration::from_millis(500));
    let events = client.converse_stream(request).await;
    let mut events = events.map_err(|why| why.to_string())?.into_inner();
    // Envoy's clock and the gateway's run out together, so it may be cut instead of told why;
    // libraries of gRPC say DEADLINE_EXCEEDED by a clock of their own.
    loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Err("it ended well".to_owned()),
            Err(_) => break,
        }
    }
    ends_early(&mesh, 2)
}

/// The model sees its caller go; it would be done by itself a little later, and say so.
fn ends_early(mesh: &Mesh, asked: u64) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let end = mesh.latest_end()?;
        if end != "running" {
            equal("the model was asked", mesh.asked()?, asked)?;
            return equal("the end", end.as_str(), "client closed");
        }
        holds("it ends", start.elapsed() < STEP_LIMIT, end)?;
    }
}
