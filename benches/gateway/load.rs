//! Load: so many calls at a time, or so many a second; and a window of time that is measured.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Ask, Line};
use crate::direct::Client;
use crate::error::Result;
use crate::fake::Shared;
use crate::subject::Subject;

/// The longest latency that is told apart from longer ones, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// How many calls may be due and not yet begun when calls come by the clock.
const DUE: usize = 65_536;

/// How long calls may take to end when the load has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who makes calls.
pub(crate) enum Caller {
    /// Over gRPC, on these connections in turn.
    Grpc(Vec<Line>, Ask),
    /// The same, with a request for each of the calls that are in flight together.
    Each(Vec<Line>, Vec<Ask>),
    /// Over HTTP, to the fake itself.
    Http(Client),
}

impl Caller {
    async fn call(&self, turn: usize) -> Result<()> {
        match self {
            Self::Grpc(lines, ask) => call(lines, ask, turn).await,
            Self::Each(lines, asks) => {
                let ask = asks.get(turn % asks.len().max(1)).ok_or("no request")?;
                call(lines, ask, turn).await
            }
            Self::Http(client) => client.call().await,
        }
    }
}

async fn call(lines: &[Line], ask: &Ask, turn: usize) -> Result<()> {
    let line = lines.get(turn % lines.len().max(1));
    let answer = line.ok_or("no connection")?.call(ask, None).await?;
    answer.check().map(|_| ())
}

/// When it is measured.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// How long the load runs before.
    pub(crate) warm: Duration,
    /// How long it is measured.
    pub(crate) length: Duration,
}

/// What was measured.
pub(crate) struct Measured {
    /// Calls that ended well.
    pub(crate) done: u64,
    /// How long they took, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// What the process was on a core.
    pub(crate) cpu: Option<Duration>,
    /// The length of the window, as it was.
    pub(crate) took: Duration,
    /// The events that the fake sent.
    pub(crate) chunks: u64,
}

impl Measured {
    /// Calls by the second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// Microseconds on a core for each of so many.
    pub(crate) fn cpu_each(&self, many: u64) -> Option<f64> {
        let cpu = self.cpu?;
        (many > 0).then(|| cpu.as_secs_f64() * 1e6 / many as f64)
    }

    /// A quantile of the latency, in microseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// What workers have done.
struct Tally {
    counts: Cell<bool>,
    stop: Cell<bool>,
    done: Cell<u64>,
    failed: Cell<u64>,
    fault: RefCell<Option<String>>,
    latency: RefCell<Histogram<u64>>,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            counts: Cell::new(false),
            stop: Cell::new(false),
            done: Cell::new(0),
            failed: Cell::new(0),
            fault: RefCell::new(None),
            latency: RefCell::new(Histogram::new_with_bounds(1, LONGEST, 3)?),
        })
    }

    fn take(&self, since: Instant, result: Result<()>) -> bool {
        if let Err(fault) = result {
            self.failed.set(self.failed.get() + 1);
            self.fault.borrow_mut().get_or_insert(fault.to_string());
            return false;
        }
        if self.counts.get() {
            self.done.set(self.done.get() + 1);
            let took = u64::try_from(since.elapsed().as_nanos()).unwrap_or(LONGEST);
            self.latency.borrow_mut().saturating_record(took);
        }
        true
    }
}

/// So many calls at a time, a new one as soon as one ends. They begin within `spread`.
pub(crate) async fn closed(
    subject: &Subject,
    shared: &Shared,
    caller: Caller,
    in_flight: usize,
    spread: Duration,
    window: Window,
) -> Result<Measured> {
    let (tally, caller) = (Rc::new(Tally::new()?), Rc::new(caller));
    let workers: Vec<_> = (0..in_flight)
        .map(|first| {
            let (tally, caller) = (Rc::clone(&tally), Rc::clone(&caller));
            spawn_local(async move {
                sleep(spread.mul_f64(first as f64 / in_flight as f64)).await;
                let mut turn = first;
                while !tally.stop.get() {
                    let begun = Instant::now();
                    if !tally.take(begun, caller.call(turn).await) {
                        // A gateway that is down must not be asked a million times.
                        sleep(Duration::from_millis(20)).await;
                    }
                    turn += in_flight;
                }
            })
        })
        .collect();
    let measured = watch(subject, shared, &tally, window).await?;
    tally.stop.set(true);
    for worker in workers {
        timeout(PATIENCE, worker).await??;
    }
    ended(&tally, measured)
}

/// So many calls a second, whether or not earlier ones have ended. Each is timed from the moment
/// at which it was due, so that what waits is not forgotten.
pub(crate) async fn open(
    subject: &Subject,
    shared: &Shared,
    caller: Caller,
    rate: f64,
    window: Window,
) -> Result<Measured> {
    let (tally, caller) = (Rc::new(Tally::new()?), Rc::new(caller));
    let clock = Clock::start(rate)?;
    let (stop, mut due) = (clock.stop, clock.due);
    let taker = spawn_local({
        let tally = Rc::clone(&tally);
        async move {
            let mut turn = 0;
            let mut calls = tokio::task::JoinSet::new();
            while let Some(at) = due.recv().await {
                let (tally, caller) = (Rc::clone(&tally), Rc::clone(&caller));
                calls.spawn_local(async move {
                    tally.take(at, caller.call(turn).await);
                });
                turn += 1;
                while calls.try_join_next().is_some() {}
            }
            calls.join_all().await;
        }
    });
    let measured = watch(subject, shared, &tally, window).await?;
    stop.store(true, Relaxed);
    timeout(PATIENCE, taker).await??;
    ended(&tally, measured)
}

async fn watch(
    subject: &Subject,
    shared: &Shared,
    tally: &Tally,
    window: Window,
) -> Result<Measured> {
    sleep(window.warm).await;
    let (cpu, sent, begun) = (subject.cpu(), shared.sent.load(Relaxed), Instant::now());
    tally.counts.set(true);
    sleep(window.length).await;
    // On a slow machine a window may be shorter than a call.
    while tally.done.get() == 0 && tally.fault.borrow().is_none() && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(10)).await;
    }
    tally.counts.set(false);
    let (now, took) = (subject.cpu(), begun.elapsed());
    Ok(Measured {
        done: tally.done.get(),
        latency: tally.latency.borrow().clone(),
        cpu: now.zip(cpu).map(|(now, before)| now.since(&before)),
        took,
        chunks: shared.sent.load(Relaxed) - sent,
    })
}

/// No number is worth anything when calls failed.
fn ended(tally: &Tally, measured: Measured) -> Result<Measured> {
    match tally.fault.take() {
        Some(fault) => {
            Err(format!("{} calls failed, the first: {fault}", tally.failed.get()).into())
        }
        None if measured.done == 0 => Err("no call ended within the time that was measured".into()),
        None => Ok(measured),
    }
}

/// Says when calls are due. A thread of its own: tokio's timers are exact to a millisecond only.
pub(crate) struct Clock {
    /// Ends it.
    pub(crate) stop: Arc<AtomicBool>,
    /// The moments.
    pub(crate) due: mpsc::Receiver<Instant>,
}

impl Clock {
    /// So many times a second.
    pub(crate) fn start(rate: f64) -> Result<Self> {
        let (tell, due) = mpsc::channel(DUE);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("clock".to_owned())
            .spawn(move || beat(rate, &stopped, &tell))?;
        Ok(Self { stop, due })
    }
}

fn beat(rate: f64, stopped: &AtomicBool, tell: &mpsc::Sender<Instant>) {
    let begun = Instant::now();
    let mut beats = 0.0;
    while !stopped.load(Relaxed) {
        let at = begun + Duration::from_secs_f64(beats / rate);
        #[expect(
            clippy::disallowed_methods,
            reason = "this thread serves nothing but the time"
        )]
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if tell.blocking_send(at).is_err() {
            return;
        }
        beats += 1.0;
    }
}
