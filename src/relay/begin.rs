//! How a reply begins: at DashScope itself, for others, or by listening to another's.

use std::sync::Arc;

use crate::chat::call::Call;
use crate::memory::CallMemory;

use super::asking::Asking;
use super::attempt::{self, Asker, Attempts};
use super::journal::Reader;
use super::ledger::{Ledger, report};
use super::place::Place;
use super::reply::Reply;
use super::stage::{Stage, Times};

/// A reply that goes to DashScope itself.
pub(super) fn direct(
    asker: &Arc<Asker>,
    mut call: Arc<Call>,
    times: Times,
    (place, memory): (Place, &CallMemory),
) -> Reply {
    let attempts = Attempts::default();
    let asking = Asking::begin(&asker.telemetry, &mut call);
    let report = report(&call, false);
    let ledger = Ledger::direct(&asker.telemetry, report, times.arrived)
        .asking(call.prompt.estimated_input_tokens())
        .traced(asking);
    let stage = opening(asker, call, times, (&attempts, memory));
    Reply::new(stage, times, attempts, ledger, Some(place))
}

/// The events of a call that runs on its own. Its readers have the places and write the reports; it
/// settles the tokens, whoever of them stays.
pub(super) fn unreported(
    asker: &Arc<Asker>,
    mut call: Arc<Call>,
    times: Times,
    (attempts, memory): (&Attempts, &CallMemory),
    tokens: Place,
) -> Reply {
    let asking = Asking::begin(&asker.telemetry, &mut call);
    let report = report(&call, false);
    let ledger = Ledger::silent(&asker.telemetry, report, times.arrived)
        .asking(call.prompt.estimated_input_tokens())
        .traced(asking);
    let stage = opening(asker, call, times, (attempts, memory));
    Reply::new(stage, times, Arc::clone(attempts), ledger, Some(tokens))
}

/// A reply that listens to a call which runs on its own.
pub(super) fn joined(
    asker: &Asker,
    reader: Reader,
    call: &Call,
    times: Times,
    mut place: Place,
) -> Reply {
    let attempts = reader.attempts();
    let twin = reader.is_twin();
    if twin {
        // The first call of the name pays.
        place.free();
    }
    let ledger = Ledger::joined(&asker.telemetry, report(call, twin), times.arrived);
    Reply::new(Stage::Joined(reader), times, attempts, ledger, Some(place))
}

fn opening(
    asker: &Arc<Asker>,
    call: Arc<Call>,
    times: Times,
    (attempts, memory): (&Attempts, &CallMemory),
) -> Stage {
    let (asker, attempts) = (Arc::clone(asker), Arc::clone(attempts));
    Stage::Opening(Box::pin(attempt::open(
        asker,
        call,
        times.deadline,
        (attempts, memory.clone()),
    )))
}
