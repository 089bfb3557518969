//! Rate limit of log lines for each call site.
//!
//! A peer that repeats a frame makes a library log the same line each time. Each call site gets a
//! number of lines per window; further ones are counted, and one line reports how many there were.
//! The lines of calls are not limited, and neither are levels below `info`, which were enabled on
//! purpose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The window in which lines of one call site are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// The most lines per window: enough to see what happens and from whom.
const MAX_LINES: u64 = 100;

/// The target of the lines of calls, one for each call.
const CALLS: &str = "dashgate::call";

/// Lines suppressed since the start of the process.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Lines suppressed since the start of the process.
pub(super) fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// A call site with suppressed lines, and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) target: &'static str,
    pub(super) place: &'static str,
    pub(super) lines: u64,
}

/// The layer that limits lines. `report` writes the line about suppressed ones.
pub(super) struct Limit<R> {
    places: Mutex<Places>,
    report: R,
}

#[derive(Default)]
struct Places {
    /// Bounded by the number of call sites in the code.
    all: HashMap<Identifier, Place>,
    /// When the next count of suppressed lines is due.
    due: Option<Instant>,
}

struct Place {
    metadata: &'static Metadata<'static>,
    since: Instant,
    lines: u64,
}

impl<R: Fn(Suppressed)> Limit<R> {
    pub(super) fn new(report: R) -> Self {
        Self {
            places: Mutex::default(),
            report,
        }
    }

    /// Whether a line of this call site may be written now.
    fn allow(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        self.report_due(&mut places, now);
        let new = || Place {
            metadata,
            since: now,
            lines: 0,
        };
        let place = places.all.entry(metadata.callsite()).or_insert_with(new);
        if now.saturating_duration_since(place.since) >= WINDOW {
            *place = new();
        }
        place.lines += 1;
        if place.lines <= MAX_LINES {
            return true;
        }
        SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        let due = place.since + WINDOW;
        places.due = Some(places.due.map_or(due, |other| other.min(due)));
        false
    }

    /// Reports the lines suppressed in windows that have ended.
    fn report_due(&self, places: &mut Places, now: Instant) {
        if places.due.is_none_or(|due| now < due) {
            return;
        }
        places.due = None;
        for place in places.all.values_mut() {
            let lines = place.lines.saturating_sub(MAX_LINES);
            if lines == 0 {
                continue;
            }
            let end = place.since + WINDOW;
            if now < end {
                places.due = Some(places.due.map_or(end, |other| other.min(end)));
                continue;
            }
            place.lines = 0;
            place.since = now;
            (self.report)(Suppressed {
                target: place.metadata.target(),
                place: place.metadata.name(),
                lines,
            });
        }
    }
}

impl<S, R> Layer<S> for Limit<R>
where
    S: Subscriber,
    R: Fn(Suppressed) + 'static,
{
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let unlimited = *metadata.level() > Level::INFO || metadata.target() == CALLS;
        unlimited || self.allow(metadata, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Counts the events that pass.
    struct Count(Arc<AtomicU64>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_site_that_floods_the_log_is_limited_and_others_are_not() {
        let passed = Arc::new(AtomicU64::new(0));
        let reported = Arc::new(Mutex::new(Vec::new()));
        let reports = Arc::clone(&reported);
        let limit = Limit::new(move |suppressed| reports.lock().unwrap().push(suppressed));
        let subscriber = tracing_subscriber::registry()
            .with(Count(Arc::clone(&passed)))
            .with(limit);
        let _guard = tracing::subscriber::set_default(subscriber);
        let counted = || passed.swap(0, Ordering::Relaxed);
        let before = suppressed();
        let flood = |lines: u64| {
            for number in 0..lines {
                tracing::warn!(target: "h2::proto", number, "the same line");
            }
        };
        flood(1_000_000);
        assert_eq!(counted(), MAX_LINES);
        assert!(suppressed() - before >= 1_000_000 - MAX_LINES);
        tracing::info!("another line");
        assert_eq!(counted(), 1);
        for _ in 0..1_000 {
            tracing::info!(target: "dashgate::call", "a call");
            tracing::debug!("somebody wants to know");
        }
        assert_eq!(counted(), 2_000);
        assert!(reported.lock().unwrap().is_empty());
        tokio::time::advance(WINDOW).await;
        tracing::info!("a third one");
        let reports = std::mem::take(&mut *reported.lock().unwrap());
        let [report] = reports[..] else {
            panic!("{reports:?}")
        };
        assert_eq!(
            (report.target, report.lines),
            ("h2::proto", 1_000_000 - MAX_LINES)
        );
        counted();
        flood(2 * MAX_LINES);
        assert_eq!(counted(), MAX_LINES);
    }
}
