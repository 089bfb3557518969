//! Which module measures a row.

use crate::bench::{Bench, Value};
use crate::error::Result;
use crate::fake::Pace;
use crate::row::Row;
use crate::subject::Variant;
use crate::{calls, cancels, growth, live, memory, stored, streams, upload};

/// Measures a row once.
pub(crate) async fn measure(row: Row, bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    bench.shared.set(Pace::Burst(200));
    match row {
        Row::Sat => calls::saturated(bench, variant).await,
        Row::Seq => calls::one_by_one(bench, variant).await,
        Row::Low => calls::by_the_clock(bench, variant).await,
        Row::Sse => streams::burst(bench, variant).await,
        Row::Paced => streams::paced(bench, variant).await,
        Row::Sound1 => calls::sound(bench, variant, 1 << 20, 2, 4).await,
        Row::Sound8 => calls::sound(bench, variant, 7_800_000, 2, 2).await,
        Row::Idle => memory::idle(bench, variant).await,
        Row::Start => memory::start(bench, variant).await,
        Row::Cancel => cancels::cancels(bench, variant).await,
        Row::Deadline => cancels::deadlines(bench, variant).await,
        Row::Upload => upload::upload(bench, variant).await,
        Row::InFlight => growth::in_flight(bench, variant).await,
        Row::Connections => growth::connections(bench, variant).await,
        Row::Turns => growth::turns(bench, variant).await,
        Row::Live => live::cost(bench, variant).await,
        Row::LiveLatency => live::latency(bench, variant).await,
        Row::LiveIdle => live::idle(bench, variant).await,
        Row::LivePace => live::pace(bench, variant).await,
        Row::BargeIn => live::barge_in(bench, variant).await,
        Row::LiveWire => live::wire(bench, variant).await,
        Row::Stored(row) => stored::measure(row, bench, variant).await,
    }
}
