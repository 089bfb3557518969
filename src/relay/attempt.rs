//! From an admitted call to the first event of its answer: the models to ask, the attempts at each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::StreamExt;

use crate::chat::call::{Call, Delivery, Passing};
use crate::chat::event::Event;
use crate::dashscope::{Exchange, Prepared};
use crate::error::{Error, Reason, Sent};
use crate::telemetry::Telemetry;

use super::accounts::{Accounts, Lease};
use super::retry::{self, Verdict};
use super::routes::{self, Routes};

/// How often DashScope was asked; read by whoever has to tell.
pub(super) type Attempts = Arc<AtomicU32>;

/// Asks DashScope.
pub(super) struct Asker {
    /// Whom to ask.
    pub(super) accounts: Arc<Accounts>,
    /// Which model, and how.
    pub(super) routes: Routes,
    /// When again.
    pub(super) retry: retry::Policy,
    /// How often again, over all calls.
    pub(super) budget: retry::Budget,
    /// How long DashScope may take to begin a stream.
    pub(super) first_event_timeout: Duration,
    /// Where it is counted.
    pub(super) telemetry: Arc<Telemetry>,
}

/// How an answer that is wanted in one way is asked for, and by when.
#[derive(Clone, Copy)]
struct Ask {
    delivery: Delivery,
    deadline: Instant,
    first_event_timeout: Duration,
}

impl Ask {
    fn of(asker: &Asker, call: &Call, model: &str, deadline: Instant) -> Self {
        let limit = asker.routes.first_event_timeout(model);
        Self {
            delivery: asker.routes.delivery(model, call.delivery),
            deadline,
            first_event_timeout: limit.unwrap_or(asker.first_event_timeout),
        }
    }
}

/// An answer that has begun.
pub(super) struct Opened {
    /// Who answers.
    pub(super) lease: Lease,
    /// Where the rest comes from.
    pub(super) exchange: Box<Exchange>,
    /// What came first.
    pub(super) first: Event,
}

/// Asks the models in their order until one begins to answer.
pub(super) async fn open(
    asker: Arc<Asker>,
    call: Arc<Call>,
    deadline: Instant,
    attempts: Attempts,
) -> Result<Opened, Error> {
    asker.budget.earn();
    let mut candidates = asker
        .routes
        .candidates(&call.prompt.model)
        .into_iter()
        .peekable();
    while let Some(model) = candidates.next() {
        match ask(&asker, &call, &model, deadline, &attempts).await {
            Err(error) if candidates.peek().is_some() && routes::falls_back(&error) => {
                asker.telemetry.metrics.fell_back(error.reason());
            }
            outcome => return outcome,
        }
    }
    Err(Error::new(
        Reason::GatewayBug,
        "the gateway knows no model for this call",
    ))
}

/// Asks one model, as often as its faults allow.
async fn ask(
    asker: &Asker,
    call: &Call,
    model: &Arc<str>,
    deadline: Instant,
    attempts: &Attempts,
) -> Result<Opened, Error> {
    let mut ask = Ask::of(asker, call, model, deadline);
    let stored = call.prompt.stored_medium();
    let mut lease = match call.passing.api_key {
        Some(_) => asker.accounts.address(model)?,
        None => asker.accounts.choose(model, stored, &[], Instant::now())?,
    };
    let mut prepared = None;
    let mut turned = false;
    let mut tries = 0;
    // The accounts that refused this call. There are no more rounds than accounts.
    let mut refused = Vec::new();
    loop {
        tries += 1;
        // Made with the first try, because it may fail like one: large media are stored on the way.
        let made = match prepared.take() {
            Some(prepared) => Ok(prepared),
            None => lease.dashscope().prepare(call, model, ask.delivery).await,
        };
        let outcome = match made {
            Ok(made) => {
                attempts.fetch_add(1, Ordering::Relaxed);
                let outcome = attempt(&lease, prepared.insert(made), ask).await;
                asker.telemetry.metrics.asked(outcome.as_ref().err());
                outcome
            }
            Err(error) => Err(error),
        };
        let error = match outcome {
            Ok(opened) => {
                lease.answered();
                return Ok(opened);
            }
            Err(error) => whose_key(error, &call.passing),
        };
        // Once only: a model that refuses both ways would be asked for ever.
        if !turned && let Some(delivery) = asker.routes.learn(model, ask.delivery, &error) {
            // The refusal cost nothing and the other way is the one the model wants, so this is not
            // counted as a retry.
            turned = true;
            ask.delivery = delivery;
            prepared = None;
            continue;
        }
        if lease.failed(&error, Instant::now()) {
            refused.push(lease.name().to_owned());
            let next = asker
                .accounts
                .choose(model, stored, &refused, Instant::now());
            if let Ok(next) = next {
                // Another key is not another try: its rates and its bill are its own.
                (lease, prepared, tries) = (next, None, tries - 1);
                continue;
            }
        }
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let verdict = retry::decide(asker.retry, &error, tries, left, fastrand::f64());
        match verdict {
            Verdict::After(pause) if asker.budget.spend() => {
                asker.telemetry.metrics.retried(error.reason());
                tokio::time::sleep(pause).await;
            }
            Verdict::After(_) | Verdict::No => return Err(error),
        }
        if call.passing.api_key.is_some() {
            continue;
        }
        let next = next_lease(asker, model, stored, &lease).map_err(|_| error)?;
        if next.name() != lease.name() {
            (lease, prepared) = (next, None);
        }
    }
}

/// The account for another try: another one if there is one.
fn next_lease(
    asker: &Asker,
    model: &Arc<str>,
    stored: Option<&str>,
    last: &Lease,
) -> Result<Lease, Error> {
    let now = Instant::now();
    let others = [last.name().to_owned()];
    let other = asker.accounts.choose(model, stored, &others, now);
    other.or_else(|_| asker.accounts.choose(model, stored, &[], now))
}

/// Asks once, and waits for the first event.
async fn attempt(lease: &Lease, prepared: &Prepared, ask: Ask) -> Result<Opened, Error> {
    let first = async {
        let mut exchange = Box::new(lease.dashscope().open(prepared).await?);
        let first = exchange.next().await.unwrap_or_else(|| Err(silent()))?;
        Ok(Opened {
            lease: lease.clone(),
            exchange,
            first,
        })
    };
    match ask.delivery {
        // The one event of a whole answer is its end, which the deadline bounds.
        Delivery::Whole => first.await,
        Delivery::Stream => {
            let limit = ask.first_event_timeout;
            match tokio::time::timeout(limit, first).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let message = format!("DashScope did not begin to answer within {limit:?}");
                    Err(Error::new(Reason::FirstEventTimeout, message).with_sent(Sent::Maybe))
                }
            }
        }
    }
}

/// A refused key is the operator's to mend, unless the caller brought it.
pub(super) fn whose_key(error: Error, passing: &Passing) -> Error {
    if passing.api_key.is_none() || error.reason() != Reason::UpstreamCredential {
        return error;
    }
    let message = "DashScope does not accept the key of this call; send one that is good there";
    Error::new(Reason::Unauthenticated, message).with_sent(error.sent())
}

/// A stream that ends without an end or a fault: the room below never makes one.
pub(super) fn silent() -> Error {
    Error::new(
        Reason::StreamTruncated,
        "DashScope's answer ended before it was complete",
    )
    .with_sent(Sent::Begun)
}
