//! The rows of calls that end before their answer: given up, or out of time.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep, timeout};

use crate::bench::{Bench, Value, ask};
use crate::client::{Ask, CONVERSE, CONVERSE_STREAM, Line};
use crate::error::Result;
use crate::fake::Pace;
use crate::messages::Question;
use crate::subject::Variant;

/// How many calls are given up at each of two stages.
const CANCELS: usize = 200;

/// How long the fake may take to notice.
const NOTICE: Duration = Duration::from_secs(5);

/// The deadline of calls that nobody answers, and how it is told.
const DEADLINE: (Duration, &str) = (Duration::from_millis(50), "50m");

/// Calls whose deadline passes, in each of [`WAITERS`] tasks.
const DEADLINES: usize = 20;

/// Tasks that wait for deadlines.
const WAITERS: usize = 10;

/// gRPC's code for a deadline that has passed.
const DEADLINE_EXCEEDED: u32 = 4;

/// From the caller's cancel to the end of the connection to DashScope.
pub(crate) async fn cancels(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let count = if bench.options.quick { 20 } else { CANCELS };
    let mut closed = bench.closed.try_lock()?;
    let subject = bench.start(variant, &[]).await?;
    let line = Line::connect(subject.address).await?;
    let mut values = Vec::new();
    for (stage, pace) in [("in the stream", Pace::Hold), ("before it", Pace::Silent)] {
        bench.shared.set(pace);
        let ask = ask(&subject, CONVERSE_STREAM, Question::Small)?;
        let mut took = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        while closed.try_recv().is_ok() {}
        for _ in 0..count {
            let given_up = match pace {
                Pace::Hold => {
                    let open = line.open(&ask).await?;
                    let now = Instant::now();
                    drop(open);
                    now
                }
                Pace::Silent | Pace::Burst(_) | Pace::Paced(..) => {
                    let calls = bench
                        .shared
                        .calls
                        .load(std::sync::atomic::Ordering::Relaxed);
                    let sent = line.send(&ask).await?;
                    arrived(bench, calls).await?;
                    let now = Instant::now();
                    drop(sent);
                    now
                }
            };
            let seen = timeout(NOTICE, closed.recv())
                .await?
                .ok_or("the fake is gone")?;
            let late = seen.saturating_duration_since(given_up).as_nanos();
            took.saturating_record(u64::try_from(late)?);
        }
        values.extend(quantiles(stage, &took));
    }
    Ok(values)
}

/// Waits until the fake has one call more.
async fn arrived(bench: &Bench, before: u64) -> Result<()> {
    let wait = async {
        while bench
            .shared
            .calls
            .load(std::sync::atomic::Ordering::Relaxed)
            == before
        {
            sleep(Duration::from_millis(1)).await;
        }
    };
    Ok(timeout(NOTICE, wait).await?)
}

/// From the deadline to its error.
pub(crate) async fn deadlines(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = bench.start(variant, &[]).await?;
    bench.shared.set(Pace::Silent);
    let line = std::rc::Rc::new(Line::connect(subject.address).await?);
    let key = subject.key.as_deref();
    let message = Question::Small.message();
    let ask = Ask::new(subject.address, CONVERSE, key, DEADLINE.1, &message)?;
    let rounds = if bench.options.quick { 2 } else { DEADLINES };
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (line, ask) = (std::rc::Rc::clone(&line), ask.clone());
            tokio::task::spawn_local(async move { overdue(&line, &ask, rounds).await })
        })
        .collect();
    let mut took = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    for waiter in waiters {
        for late in waiter.await?? {
            took.saturating_record(late);
        }
    }
    Ok(quantiles("its error is late by", &took).into())
}

async fn overdue(line: &Line, ask: &Ask, rounds: usize) -> Result<Vec<u64>> {
    let mut late = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        let answer = line.call(ask, None).await?;
        let took = begun.elapsed();
        if answer.code != DEADLINE_EXCEEDED {
            let (code, words) = (answer.code, answer.words);
            return Err(format!("not a deadline's error: gRPC code {code}, {words}").into());
        }
        late.push(u64::try_from(took.saturating_sub(DEADLINE.0).as_nanos())?);
    }
    Ok(late)
}

fn quantiles(what: &str, took: &Histogram<u64>) -> [Value; 2] {
    let milliseconds = |quantile| took.value_at_quantile(quantile) as f64 / 1e6;
    [
        Value::new(format!("{what}, p50"), "ms", milliseconds(0.5)),
        Value::new(format!("{what}, p99"), "ms", milliseconds(0.99)),
    ]
}
