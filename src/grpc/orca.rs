//! The load of the gateway, reported in trailers to weighted load balancers (ORCA).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use tokio::time::Instant;
use tonic::metadata::{Binary, MetadataValue};

use crate::relay::Relay;

/// The trailer that load balancers read.
const NAME: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// The seconds over which rates are averaged: long enough to be steady, short enough to follow a
/// burst.
const WINDOW: u64 = 5;

/// The seconds that are kept: the window, the current one, and one between.
const SLOTS: usize = 8;

/// The fields of `xds.data.orca.v3.OrcaLoadReport` that are reported.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoadReport {
    /// Calls per second.
    #[prost(double, tag = "6")]
    pub rps_fractional: f64,
    /// Failed calls per second.
    #[prost(double, tag = "7")]
    pub eps: f64,
    /// By name. A map is a list of its entries on the wire.
    #[prost(message, repeated, tag = "8")]
    pub named_metrics: Vec<NamedMetric>,
    /// Calls in flight as a fraction of the limit.
    #[prost(double, tag = "9")]
    pub application_utilization: f64,
}

/// A named metric.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamedMetric {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(double, tag = "2")]
    pub value: f64,
}

/// How long a report is reused. Rates are over seconds, and a load balancer that gets a hundred
/// reports per second learns nothing from more.
const FRESH: Duration = Duration::from_millis(10);

/// Measures the load.
pub struct Load {
    relay: Relay,
    began: Instant,
    calls: Rate,
    failures: Rate,
    /// The latest report, and its time.
    told: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Load {
    /// The load of this relay.
    pub fn new(relay: Relay) -> Self {
        Self {
            relay,
            began: Instant::now(),
            calls: Rate::default(),
            failures: Rate::default(),
            told: Mutex::default(),
        }
    }

    /// Counts a call.
    pub fn began(&self) {
        self.calls.count(self.second());
    }

    /// Counts a failed call.
    pub fn failed(&self) {
        self.failures.count(self.second());
    }

    /// Adds the report to these trailers.
    pub fn tell(&self, trailers: &mut HeaderMap) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = told.as_ref().is_none_or(|(when, _)| now >= *when + FRESH);
        if stale {
            let value = MetadataValue::<Binary>::from_bytes(&self.report().encode_to_vec());
            let value = HeaderValue::from_bytes(value.as_encoded_bytes()).ok();
            *told = value.map(|value| (now, value));
        }
        if let Some((_, value)) = &*told {
            trailers.insert(NAME, value.clone());
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "no gateway has 2^52 calls in flight"
    )]
    fn report(&self) -> LoadReport {
        let second = self.second();
        let (in_flight, limit) = (self.relay.in_flight() as f64, self.relay.limit() as f64);
        LoadReport {
            rps_fractional: self.calls.per_second(second),
            eps: self.failures.per_second(second),
            named_metrics: vec![NamedMetric {
                key: "in_flight".to_owned(),
                value: in_flight,
            }],
            application_utilization: in_flight / limit.max(1.0),
        }
    }

    /// Counted from one: an empty slot has second 0.
    fn second(&self) -> u64 {
        self.began.elapsed().as_secs() + 1
    }
}

/// The number of events per second. A slot holds its second above its count.
#[derive(Default)]
struct Rate([AtomicU64; SLOTS]);

impl Rate {
    fn count(&self, second: u64) {
        let slot = usize::try_from(second).unwrap_or_default() % SLOTS;
        let add = |packed: u64| match packed >> 32 == second {
            true => Some(packed + 1),
            false => Some((second << 32) | 1),
        };
        if let Some(slot) = self.0.get(slot) {
            let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Over the seconds before this one; over fewer soon after the start.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of some seconds is far below 2^52"
    )]
    fn per_second(&self, second: u64) -> f64 {
        let first = second.saturating_sub(WINDOW).max(1);
        let slots = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        let counted: u64 = slots
            .filter(|packed| (first..second).contains(&(packed >> 32)))
            .map(|packed| packed & u64::from(u32::MAX))
            .sum();
        counted as f64 / (second - first).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_the_last_seconds() {
        let rate = Rate::default();
        for second in 1..=20 {
            for _ in 0..second {
                rate.count(second);
            }
        }
        assert!((rate.per_second(21) - 18.0).abs() < 1e-9);
        assert!(rate.per_second(40).abs() < 1e-9);
        let young = Rate::default();
        young.count(1);
        young.count(1);
        assert!((young.per_second(2) - 2.0).abs() < 1e-9);
        assert!(young.per_second(1).abs() < 1e-9);
    }
}
