//! The rows of answers that come as they are made.

use std::time::Duration;

use crate::bench::{Bench, Value, ask, lines};
use crate::client::CONVERSE_STREAM;
use crate::error::Result;
use crate::fake::Pace;
use crate::load::{Caller, Measured, Window, closed};
use crate::messages::Question;
use crate::subject::{Subject, Variant};

/// The events of a stream.
const EVENTS: u64 = 200;

/// All events at once.
pub(crate) async fn burst(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    bench.shared.set(Pace::Burst(EVENTS));
    let subject = bench.start(variant, &[]).await?;
    let load = run(bench, &subject, 2, 8, Duration::ZERO, bench.window()).await?;
    let mut values = each(&load);
    let rate = load.chunks as f64 / load.took.as_secs_f64();
    values.push(Value::new("events", "/s", rate));
    Ok(values)
}

/// An event now and then, as models make them.
pub(crate) async fn paced(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let gap = Duration::from_millis(5);
    bench.shared.set(Pace::Paced(EVENTS, gap));
    let subject = bench.start(variant, &[]).await?;
    // A stream takes a second: all must have begun, and some must end within the window.
    let lasts = gap * u32::try_from(EVENTS)?;
    let window = Window {
        warm: lasts,
        length: bench.options.length.max(lasts),
    };
    let load = run(bench, &subject, 4, 100, lasts, window).await?;
    Ok(each(&load))
}

fn each(load: &Measured) -> Vec<Value> {
    let each = load.cpu_each(load.chunks);
    each.map(|each| Value::drawn("CPU of an event", "us", each))
        .into_iter()
        .collect()
}

/// Streams at a time, begun within `spread`.
pub(crate) async fn run(
    bench: &Bench,
    subject: &Subject,
    connections: usize,
    in_flight: usize,
    spread: Duration,
    window: Window,
) -> Result<Measured> {
    let lines = lines(subject, connections).await?;
    let caller = Caller::Grpc(lines, ask(subject, CONVERSE_STREAM, Question::Small)?);
    closed(subject, &bench.shared, caller, in_flight, spread, window).await
}
