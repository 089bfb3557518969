//! From an admitted call to the first event of its answer: the models to ask, the attempts at each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::StreamExt;

use crate::chat::call::{Call, Delivery};
use crate::chat::event::Event;
use crate::dashscope::{DashScope, Exchange, Prepared};
use crate::error::{Error, Reason, Sent};
use crate::telemetry::Telemetry;

use super::retry::{self, Verdict};
use super::routes::{self, Routes};

/// How often DashScope was asked; read by whoever has to tell.
pub(super) type Attempts = Arc<AtomicU32>;

/// Asks DashScope.
pub(super) struct Asker {
    /// Whom to ask.
    pub(super) dashscope: DashScope,
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
}

/// An answer that has begun.
pub(super) struct Opened {
    /// Where the rest comes from.
    pub(super) exchange: Exchange,
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
    model: &str,
    deadline: Instant,
    attempts: &Attempts,
) -> Result<Opened, Error> {
    let delivery = asker.routes.delivery(model, call.delivery);
    let mut ask = Ask { delivery, deadline };
    let mut prepared = None;
    let mut turned = false;
    let mut tries = 0;
    loop {
        tries += 1;
        // Made with the first try, because it may fail like one: large media are stored on the way.
        let made = match prepared.take() {
            Some(prepared) => Ok(prepared),
            None => asker.dashscope.prepare(call, model, ask.delivery).await,
        };
        let outcome = match made {
            Ok(made) => {
                attempts.fetch_add(1, Ordering::Relaxed);
                let outcome = attempt(asker, prepared.insert(made), ask).await;
                asker.telemetry.metrics.asked(outcome.as_ref().err());
                outcome
            }
            Err(error) => Err(error),
        };
        let error = match outcome {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
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
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let verdict = retry::decide(asker.retry, &error, tries, left, fastrand::f64());
        match verdict {
            Verdict::After(pause) if asker.budget.spend() => {
                asker.telemetry.metrics.retried(error.reason());
                tokio::time::sleep(pause).await;
            }
            Verdict::After(_) | Verdict::No => return Err(error),
        }
    }
}

/// Asks once, and waits for the first event.
async fn attempt(asker: &Asker, prepared: &Prepared, ask: Ask) -> Result<Opened, Error> {
    let first = async {
        let mut exchange = asker.dashscope.open(prepared).await?;
        let first = exchange.next().await.unwrap_or_else(|| Err(silent()))?;
        Ok(Opened { exchange, first })
    };
    match ask.delivery {
        // The one event of a whole answer is its end, which the deadline bounds.
        Delivery::Whole => first.await,
        Delivery::Stream => {
            let limit = asker.first_event_timeout;
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

/// A stream that ends without an end or a fault: the room below never makes one.
pub(super) fn silent() -> Error {
    Error::new(
        Reason::StreamTruncated,
        "DashScope's answer ended before it was complete",
    )
    .with_sent(Sent::Begun)
}
