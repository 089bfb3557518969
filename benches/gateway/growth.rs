//! The rows that ask what happens when there is more of something: does a call cost more?

use std::time::Duration;

use crate::bench::{Bench, Value, ask, lines};
use crate::calls;
use crate::client::CONVERSE;
use crate::error::Result;
use crate::fake::Pace;
use crate::load::{Caller, Window, closed};
use crate::messages::Question;
use crate::streams;
use crate::subject::Variant;

/// How many of each there are.
const STEPS: [usize; 4] = [1, 10, 100, 1000];

/// Streams at a time. The most come at a tenth of the pace: it is as many events as of the step
/// before, which is what one core of the load can still read.
const STREAMS: [(usize, Duration); 5] = [
    (1, PACE),
    (10, PACE),
    (100, PACE),
    (1000, PACE),
    (10_000, Duration::from_millis(500)),
];

/// The pause between two events.
const PACE: Duration = Duration::from_millis(50);

/// With fewer connections what they take cannot be told from the rest.
const ENOUGH: usize = 1000;

fn steps(bench: &Bench) -> &'static [usize] {
    if bench.options.quick {
        &[1, 10, 100]
    } else {
        &STEPS
    }
}

/// Streams at a time.
pub(crate) async fn in_flight(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    bench.shared.set(Pace::Paced(10, PACE));
    let most = "server.max_in_flight=11000";
    let subject = bench.start(variant, &[most]).await?;
    let mut values = Vec::new();
    let few = bench.options.quick;
    for &(streams, gap) in STREAMS.iter().take(if few { 3 } else { STREAMS.len() }) {
        bench.shared.set(Pace::Paced(10, gap));
        let lasts = gap * 10;
        let window = Window {
            warm: lasts + Duration::from_millis(100),
            length: bench.options.length.max(lasts * 2),
        };
        let connections = streams.div_ceil(100);
        let load = streams::run(bench, &subject, connections, streams, lasts, window).await?;
        let what = format!("CPU of an event, {streams} at a time");
        values.extend(
            load.cpu_each(load.chunks)
                .map(|each| Value::new(what, "us", each)),
        );
    }
    Ok(values)
}

/// Connections that are open.
pub(crate) async fn connections(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = bench.start(variant, &[]).await?;
    let mut values = Vec::new();
    for &connections in steps(bench) {
        let before = subject.memory();
        let lines = lines(&subject, connections).await?;
        let after = subject.memory();
        let caller = Caller::Grpc(lines, ask(&subject, CONVERSE, Question::Small)?);
        let (shared, window) = (&bench.shared, bench.window());
        let load = closed(&subject, shared, caller, 32, Duration::ZERO, window).await?;
        values.extend(calls::cpu(
            &format!("CPU of a call, {connections} open"),
            &load,
        ));
        if let Some((before, after)) = before.zip(after).filter(|_| connections >= ENOUGH) {
            let grown = after.resident.saturating_sub(before.resident) as f64;
            let what = format!("memory of a connection, {connections} open");
            values.push(Value::new(what, "KiB", grown / connections as f64 / 1024.0));
        }
    }
    for value in &mut values {
        value.drawn = false;
    }
    Ok(values)
}

/// Turns of a conversation.
pub(crate) async fn turns(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = bench.start(variant, &[]).await?;
    let mut values = Vec::new();
    for turns in [10, 100, 1000] {
        let question = Question::Turns(turns);
        let bytes = question.message().len() as f64;
        let load = calls::run(bench, variant, &subject, question, 2, 4).await?;
        let Some(each) = load.cpu_each(load.done) else {
            continue;
        };
        values.push(Value::new(
            format!("CPU of a call, {turns} turns"),
            "us",
            each,
        ));
        let byte = each * 1e3 / bytes;
        values.push(Value::new(
            format!("CPU of a byte, {turns} turns"),
            "ns",
            byte,
        ));
    }
    Ok(values)
}
