//! Accepts connections, with limits and graceful shutdown.
//!
//! tonic's own server has no timeout for idle connections, no limit on connections or on its drain,
//! and advertises no limit on streams. So the accept loop is here, on hyper.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::chat::call::Origin;
use crate::telemetry::accept_errors::Failures;

use super::Service;
use super::connection::{self, ConnectionContext};
use super::phase::Phase;
use super::socket::Listener;
use super::worker_runtimes::Workers;

/// The name of this port in the log.
const PORT: &str = "server";

/// How many bits of an IPv6 address identify the network; a host has all the others.
const IPV6_NETWORK: u32 = 64;

/// The limits on open connections.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// In total.
    pub connections: usize,
    /// Per IP address; `None` for no separate limit.
    pub connections_per_address: Option<usize>,
}

/// Serves until the phase is `Closing`; then every connection ends its calls, and this returns.
pub async fn serve<S: Service>(
    listener: Listener,
    context: ConnectionContext<S>,
    (capacity, workers): (Capacity, Workers),
    phase: watch::Receiver<Phase>,
) {
    let tls = context.tls.clone();
    let freshness = async move {
        match tls {
            Some(tls) => tls.keep_fresh().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = accept(listener, context, capacity, workers, phase) => {}
        () = freshness => {}
    }
}

async fn accept<S: Service>(
    listener: Listener,
    context: ConnectionContext<S>,
    capacity: Capacity,
    workers: Workers,
    mut phase: watch::Receiver<Phase>,
) {
    let places = Places::new(capacity);
    let mut connections = JoinSet::new();
    let mut failures = Failures::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => break,
        };
        while connections.try_join_next().is_some() {}
        let metrics = &context.service.telemetry().metrics;
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let pause = failures.add(PORT, &error, metrics);
                tokio::select! {
                    () = tokio::time::sleep(pause) => continue,
                    _ = phase.wait_for(|phase| *phase == Phase::Closing) => break,
                }
            }
        };
        failures.forget();
        // Beyond the limit a connection is closed at once, which its peer sees as a refusal.
        let Some(place) = places.take(accepted.from) else {
            tracing::debug!("connection refused: too many connections");
            metrics.refused.inc();
            continue;
        };
        let present = metrics.connection();
        let (context, phase) = (context.clone(), phase.clone());
        let origin = origin(accepted.from);
        workers.spawn(&mut connections, async move {
            match accepted.socket.open() {
                Ok(stream) => connection::run(stream, origin, context, phase).await,
                Err(error) => tracing::warn!(%error, "a connection could not be opened"),
            }
            drop((place, present));
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The origin of a connection. Local programs share one address, so each local connection is a
/// separate caller.
fn origin(from: Option<IpAddr>) -> Origin {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    match from {
        Some(IpAddr::V6(address)) if !address.is_loopback() => {
            let network = u128::MAX << (128 - IPV6_NETWORK);
            let address = u128::from(address) & network;
            Origin::Address(Ipv6Addr::from(address).into())
        }
        Some(address) if !address.is_loopback() => Origin::Address(address),
        Some(_) | None => Origin::Connection(CONNECTIONS.fetch_add(1, Ordering::Relaxed)),
    }
}

/// The number of connections per address, without entries of zero.
type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Slots for connections.
struct Places {
    all: Arc<Semaphore>,
    each: Option<usize>,
    taken: Taken,
}

/// A slot that is in use until this is dropped.
struct Place {
    _one_of_all: OwnedSemaphorePermit,
    counted: Option<(IpAddr, Taken)>,
}

impl Places {
    fn new(capacity: Capacity) -> Self {
        Self {
            all: Arc::new(Semaphore::new(capacity.connections)),
            each: capacity.connections_per_address,
            taken: Arc::default(),
        }
    }

    fn take(&self, from: Option<IpAddr>) -> Option<Place> {
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let counted = match (self.each, from) {
            (Some(each), Some(from)) => {
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                let count = taken.entry(from).or_default();
                if *count >= each {
                    return None;
                }
                *count += 1;
                Some((from, Arc::clone(&self.taken)))
            }
            _ => None,
        };
        Some(Place {
            _one_of_all: one_of_all,
            counted,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((from, taken)) = &self.counted else {
            return;
        };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(from) {
            *count -= 1;
            if *count == 0 {
                taken.remove(from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart_by_address_and_on_this_machine_by_connection() {
        let from = |text: &str| origin(Some(text.parse().unwrap()));
        assert_eq!(from("192.0.2.1"), from("192.0.2.1"));
        assert_ne!(from("192.0.2.1"), from("192.0.2.2"));
        assert_eq!(from("2001:db8::1"), from("2001:db8::ffff:2"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
        assert_ne!(from("127.0.0.1"), from("127.0.0.1"));
        assert_ne!(from("::1"), from("::1"));
        assert_ne!(origin(None), origin(None));
    }

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let places = Places::new(Capacity {
            connections: 3,
            connections_per_address: Some(2),
        });
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let first = places.take(one).unwrap();
        let second = places.take(one).unwrap();
        assert!(places.take(one).is_none());
        let third = places.take(other).unwrap();
        assert!(places.take(None).is_none(), "all places are taken");
        drop(first);
        assert!(places.take(one).is_some());
        drop((second, third));
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), 3);
    }
}
