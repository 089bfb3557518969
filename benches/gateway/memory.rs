//! The rows of a process that rests, and of streams that wait.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, Value, ask, lines, prove};
use crate::client::{CONVERSE, CONVERSE_STREAM, Line};
use crate::error::Result;
use crate::fake::Pace;
use crate::messages::Question;
use crate::proc::descriptor_limit;
use crate::subject::Variant;

/// As many streams as a connection may have.
const ON_A_LINE: usize = 100;

/// The most streams, if nothing else is said.
const MOST: usize = 9000;

/// The descriptors that are needed beside those of streams.
const SPARE: usize = 300;

/// How many streams are opened at the same moment.
const TOGETHER: usize = 50;

/// How long a process may settle before it is looked at.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// How many streams can be held: each takes a descriptor here, where the fake is, and one there.
pub(crate) fn streams(bench: &Bench) -> usize {
    let limit = descriptor_limit().unwrap_or(1024);
    let room = limit.saturating_sub(SPARE) * ON_A_LINE / (ON_A_LINE + 1);
    bench.options.streams.unwrap_or(MOST).min(room).max(1)
}

/// What a stream takes while it waits.
pub(crate) async fn idle(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    bench.shared.set(Pace::Hold);
    let count = streams(bench);
    // The default is the bound against overload, which here is the load itself; and one caller gets
    // a share of the places, not all.
    let most = format!("server.max_in_flight={}", 2 * count + ON_A_LINE);
    let subject = bench.start(variant, &[&most]).await?;
    let lines = Rc::new(lines(&subject, count.div_ceil(ON_A_LINE)).await?);
    let ask = Rc::new(ask(&subject, CONVERSE_STREAM, Question::Small)?);
    sleep(SETTLE).await;
    let before = subject.memory();
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let mut opening = JoinSet::new();
        for at in held.len()..count.min(held.len() + TOGETHER) {
            let (lines, ask) = (Rc::clone(&lines), Rc::clone(&ask));
            opening.spawn_local(async move {
                let line = lines.get(at % lines.len()).ok_or("no connection")?;
                line.open(&ask).await
            });
        }
        for open in opening.join_all().await {
            held.push(open?);
        }
    }
    sleep(SETTLE).await;
    let Some((before, now)) = before.zip(subject.memory()) else {
        return Ok(Vec::new());
    };
    let grown = now.resident.saturating_sub(before.resident) as f64;
    let each = grown / count as f64 / 1024.0;
    Ok(vec![
        Value::drawn("memory of a stream", "KiB", each),
        Value::new("streams", "", count as f64),
    ])
}

/// How long it takes to serve, and what is there then.
pub(crate) async fn start(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let begun = Instant::now();
    let subject = bench.starter.start(variant, &[])?;
    let line = Line::connect(subject.address).await?;
    prove(&line, &ask(&subject, CONVERSE, Question::Small)?, variant).await?;
    let answered = begun.elapsed();
    drop(line);
    sleep(SETTLE).await;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let mut values = vec![
        Value::drawn("until it listens", "ms", milliseconds(subject.started_in)),
        Value::new(
            "until a first call is answered",
            "ms",
            milliseconds(answered),
        ),
    ];
    if let Some(memory) = subject.memory() {
        let resident = memory.resident as f64 / f64::from(1 << 20);
        values.push(Value::drawn("memory at rest", "MiB", resident));
    }
    if let Some(binary) = bench.starter.binary(variant) {
        let size = std::fs::metadata(binary)?.len() as f64 / f64::from(1 << 20);
        values.push(Value::new("the program's file", "MiB", size));
    }
    Ok(values)
}
