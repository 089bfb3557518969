//! The rows of calls whose answer comes whole.

use std::time::Duration;

use crate::bench::{Bench, Value, ask, lines};
use crate::client::CONVERSE;
use crate::direct::Client;
use crate::error::Result;
use crate::load::{Caller, Measured, closed, open};
use crate::messages::Question;
use crate::subject::{Subject, Variant};

/// As many calls as it can answer.
pub(crate) async fn saturated(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = bench.start(variant, &[]).await?;
    let measured = run(bench, variant, &subject, Question::Small, 4, 64).await?;
    let mut values = cpu("CPU of a call", &measured);
    values.push(Value::new("calls", "/s", measured.rate()));
    if let Some(cpu) = measured.cpu {
        let busy = cpu.as_secs_f64() / measured.took.as_secs_f64();
        values.push(Value::new("of its core", "%", busy * 100.0));
    }
    values.push(Value::new("latency p50", "us", measured.quantile(0.5)));
    values.push(Value::new("latency p99", "us", measured.quantile(0.99)));
    Ok(values)
}

/// One call at a time.
pub(crate) async fn one_by_one(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = bench.start(variant, &[]).await?;
    let measured = run(bench, variant, &subject, Question::Small, 1, 1).await?;
    // What the fake takes is no part of what a gateway costs.
    let mut values = if variant == Variant::Direct {
        Vec::new()
    } else {
        cpu("CPU of a call", &measured)
    };
    values.push(Value::new("latency p50", "us", measured.quantile(0.5)));
    values.push(Value::new("latency p99", "us", measured.quantile(0.99)));
    Ok(values)
}

/// Calls by the clock, far below what anyone can answer.
pub(crate) async fn by_the_clock(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = bench.start(variant, &[]).await?;
    let caller = caller(variant, &subject, Question::Small, 4).await?;
    let mut window = bench.window();
    // Twice as long as others: at this rate a tail is made of few calls.
    window.length *= 2;
    let measured = open(&subject, &bench.shared, caller, 200.0, window).await?;
    Ok(vec![
        Value::drawn("latency p50", "us", measured.quantile(0.5)),
        Value::new("latency p99", "us", measured.quantile(0.99)),
    ])
}

/// A sound inside the message.
pub(crate) async fn sound(
    bench: &Bench,
    variant: Variant,
    bytes: usize,
    connections: usize,
    in_flight: usize,
) -> Result<Vec<Value>> {
    let subject = bench.start(variant, &[]).await?;
    let question = Question::Sound(bytes);
    let measured = run(bench, variant, &subject, question, connections, in_flight).await?;
    let mut values = cpu("CPU of a call", &measured);
    let rate = measured.rate() * bytes as f64 / 1e6;
    values.push(Value::new("sound", "MB/s", rate));
    if let Some(memory) = subject.memory() {
        let peak = memory.peak as f64 / f64::from(1 << 20);
        values.push(Value::new("memory, at most", "MiB", peak));
    }
    Ok(values)
}

/// The time on a core for each call, if it is known.
pub(crate) fn cpu(what: &str, measured: &Measured) -> Vec<Value> {
    let each = measured.cpu_each(measured.done);
    each.map(|each| Value::drawn(what, "us", each))
        .into_iter()
        .collect()
}

/// Load of so many calls at a time.
pub(crate) async fn run(
    bench: &Bench,
    variant: Variant,
    subject: &Subject,
    question: Question,
    connections: usize,
    in_flight: usize,
) -> Result<Measured> {
    let caller = caller(variant, subject, question, connections).await?;
    let (shared, window) = (&bench.shared, bench.window());
    closed(subject, shared, caller, in_flight, Duration::ZERO, window).await
}

async fn caller(
    variant: Variant,
    subject: &Subject,
    question: Question,
    connections: usize,
) -> Result<Caller> {
    if variant == Variant::Direct {
        let client = Client::new(subject.address, &question.message())?;
        return Ok(Caller::Http(client));
    }
    let lines = lines(subject, connections).await?;
    Ok(Caller::Grpc(lines, ask(subject, CONVERSE, question)?))
}
